//! What an eye would see: mean squared error and structural similarity of two images.
//!
//! SSIM is that of Wang, Bovik, Sheikh, Simoncelli (IEEE TIP 13(4), 2004): an 11×11 Gaussian window with deviation 1.5,
//! K1 = 0.01, K2 = 0.03, population moments, the mean over all windows that lie wholly inside. Values `[channel, depth,
//! height, width]`; channels and slices are averaged. Smaller images are refused.

use ndarray::{ArrayView2, ArrayView4};

/// Side of the window.
pub const WINDOW: usize = 11;

const DEVIATION: f64 = 1.5;

/// Mean squared error.
///
/// # Panics
/// If the shapes differ.
pub fn mse(a: ArrayView4<'_, f64>, b: ArrayView4<'_, f64>) -> f64 {
    assert_eq!(a.dim(), b.dim(), "images of one shape");
    let sum: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
    sum / a.len().max(1) as f64
}

/// Mean structural similarity of images whose values span `range`; `None` where no window fits.
///
/// # Panics
/// If the shapes differ.
pub fn ssim(a: ArrayView4<'_, f64>, b: ArrayView4<'_, f64>, range: f64) -> Option<f64> {
    assert_eq!(a.dim(), b.dim(), "images of one shape");
    let (channels, depth, height, width) = a.dim();
    if height < WINDOW || width < WINDOW || channels * depth == 0 {
        return None;
    }
    let slices = a.outer_iter().zip(b.outer_iter()).flat_map(|(a, b)| {
        let pairs: Vec<f64> = a.outer_iter().zip(b.outer_iter()).map(|(a, b)| ssim_2d(a, b, range)).collect();
        pairs
    });
    Some(slices.sum::<f64>() / (channels * depth) as f64)
}

fn ssim_2d(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>, range: f64) -> f64 {
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let (height, width) = a.dim();
    let flat =
        |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> { a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect() };
    let moments =
        [flat(&|a, _| a), flat(&|_, b| b), flat(&|a, _| a * a), flat(&|_, b| b * b), flat(&|a, b| a * b)]
            .map(|values| blur(&values, height, width));
    let windows = moments[0].len();
    let sum: f64 = (0..windows)
        .map(|i| {
            let [mean_a, mean_b, aa, bb, ab] = [0, 1, 2, 3, 4].map(|m: usize| moments[m][i]);
            let (var_a, var_b, cov) = (aa - mean_a * mean_a, bb - mean_b * mean_b, ab - mean_a * mean_b);
            (2.0 * mean_a * mean_b + c1) * (2.0 * cov + c2)
                / ((mean_a * mean_a + mean_b * mean_b + c1) * (var_a + var_b + c2))
        })
        .sum();
    sum / windows as f64
}

/// Gaussian means of all windows inside, along rows and then along columns.
fn blur(values: &[f64], height: usize, width: usize) -> Vec<f64> {
    let taps = gaussian();
    let narrow = width + 1 - WINDOW;
    let rows: Vec<f64> = values
        .chunks(width)
        .flat_map(|row| {
            row.windows(WINDOW).map(|window| window.iter().zip(&taps).map(|(v, t)| v * t).sum::<f64>())
        })
        .collect();
    (0..height + 1 - WINDOW)
        .flat_map(|y| (0..narrow).map(move |x| (y, x)))
        .map(|(y, x)| taps.iter().enumerate().map(|(k, t)| t * rows[(y + k) * narrow + x]).sum())
        .collect()
}

fn gaussian() -> [f64; WINDOW] {
    let weights: [f64; WINDOW] = std::array::from_fn(|i| {
        let distance = i as f64 - (WINDOW / 2) as f64;
        (-distance * distance / (2.0 * DEVIATION * DEVIATION)).exp()
    });
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    /// A pattern that other programs can make too.
    fn pattern(a: usize, b: usize, c: usize) -> Array4<f64> {
        Array4::from_shape_fn((1, 1, 24, 30), |(_, _, y, x)| ((a * x * x + b * y + c * x * y) % 256) as f64)
    }

    #[test]
    fn flat_images_have_the_closed_form() {
        let (a, b) = (Array4::from_elem((1, 2, 16, 12), 100.0), Array4::from_elem((1, 2, 16, 12), 150.0));
        let c1 = (0.01_f64 * 255.0).powi(2);
        let expected = (2.0 * 100.0 * 150.0 + c1) / (100.0 * 100.0 + 150.0 * 150.0 + c1);
        assert!((ssim(a.view(), b.view(), 255.0).unwrap() - expected).abs() < 1e-9);
        assert_eq!(mse(a.view(), b.view()), 2500.0);
    }

    #[test]
    fn the_same_image_is_one_and_its_negative_is_below_zero() {
        let a = pattern(3, 7, 1);
        let negative = a.mapv(|v| 255.0 - v);
        assert!((ssim(a.view(), a.view(), 255.0).unwrap() - 1.0).abs() < 1e-12);
        assert!(ssim(a.view(), negative.view(), 255.0).unwrap() < 0.0);
        assert_eq!(
            ssim(Array4::zeros((1, 1, 10, 30)).view(), Array4::zeros((1, 1, 10, 30)).view(), 1.0),
            None
        );
    }

    #[test]
    fn values_agree_with_scikit_image() {
        // structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255), 0.25.
        let a = pattern(3, 7, 1);
        let noise = Array4::from_shape_fn(a.dim(), |(_, _, y, x)| ((5 * x + 11 * y) % 64) as f64);
        let b = (&a * 0.75 + noise).mapv(|v| v.clamp(0.0, 255.0));
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value} {expected}");
        near(ssim(a.view(), b.view(), 255.0).unwrap(), 0.921_281_733_288_012_9);
        near(ssim(a.view(), pattern(1, 2, 3).view(), 255.0).unwrap(), 0.127_193_567_074_627_5);
    }
}
