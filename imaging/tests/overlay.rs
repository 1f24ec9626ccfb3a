//! Overlays: what is drawn where, and that the committed sample scans are what they are said to be.
#![expect(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use imaging::{Geometry, LabelGreys, LabelStyle, Overlay, Overwrite, Scan, majority_label, read_labels};
use ndarray::{Array3, Array4};

fn draw(overlay: &Overlay<'_>) -> RgbImage {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("overlay.png");
    overlay.write(&path, Overwrite::Refuse).expect("written");
    image::open(path).expect("a picture").to_rgb8()
}

fn scan_of(d: usize, h: usize, w: usize, known: bool) -> Scan {
    let voxels = Array4::from_shape_fn((1, d, h, w), |(_, z, y, x)| (z + y + x) as f32);
    Scan::from_voxels("scan", voxels, Geometry { known, ..Geometry::unknown() })
}

fn case<'a>(
    scan: &'a Scan,
    result: &'a Array3<u8>,
    reference: Option<&'a Array3<u8>>,
    labels: &'a [LabelStyle],
) -> Overlay<'a> {
    Overlay { title: "Case", subtitle: "", result_name: "Result", scan, result, reference, labels }
}

/// Share of coloured pixels between two columns of the picture.
fn colourful(picture: &RgbImage, from: f64, to: f64) -> f64 {
    let (w, h) = picture.dimensions();
    let columns = (f64::from(w) * from) as u32..(f64::from(w) * to) as u32;
    let coloured = |p: &Rgb<u8>| p.0.iter().max().zip(p.0.iter().min()).is_some_and(|(a, b)| a - b > 40);
    let pixels = columns.clone().flat_map(|x| (0..h - 70).map(move |y| (x, y)));
    let count = pixels.filter(|(x, y)| coloured(picture.get_pixel(*x, *y))).count();
    count as f64 / f64::from(h - 70) / columns.len() as f64
}

#[test]
fn only_panels_with_labels_are_coloured() {
    let styles = LabelStyle::named(&["none", "thing"]);
    for scan in [scan_of(1, 50, 40, false), scan_of(20, 30, 40, true), scan_of(20, 30, 40, false)] {
        let [d, h, w] = scan.dims();
        let full = Array3::from_elem((d, h, w), 1);
        let empty = Array3::zeros((d, h, w));
        let picture = draw(&case(&scan, &full, Some(&empty), &styles));
        assert!(colourful(&picture, 0.03, 0.32) < 0.001, "the scan alone");
        assert!(colourful(&picture, 0.35, 0.65) > 0.2, "the result");
        assert!(colourful(&picture, 0.68, 0.97) < 0.001, "an empty reference");
        let wider = picture.width();
        let picture = draw(&case(&scan, &full, None, &styles));
        assert!(picture.width() < wider, "two panels without a reference");
    }
}

#[test]
fn the_legend_grows_with_the_labels() {
    let scan = scan_of(1, 20, 30, false);
    let labels = Array3::zeros((1, 20, 30));
    let height =
        |names: &[&str]| draw(&case(&scan, &labels, Some(&labels), &LabelStyle::named(names))).height();
    assert_eq!(height(&["a", "b", "c"]) - height(&["a"]), 44);
}

#[test]
fn large_and_thin_pictures_keep_their_shape_and_small_size() {
    let scan = scan_of(1, 1500, 3000, false);
    let labels = Array3::zeros((1, 1500, 3000));
    let picture = draw(&case(&scan, &labels, None, &[]));
    assert!(picture.width() < 1000 && picture.height() < 400);
    let scan = scan_of(1, 1, 300, false);
    draw(&case(&scan, &Array3::zeros((1, 1, 300)), None, &[]));
}

#[test]
fn labels_of_another_grid_are_refused() {
    let scan = scan_of(1, 20, 30, false);
    let (right, wrong) = (Array3::zeros((1, 20, 30)), Array3::zeros((1, 30, 20)));
    for overlay in [case(&scan, &wrong, None, &[]), case(&scan, &right, Some(&wrong), &[])] {
        let text = overlay.write(Path::new("never.png"), Overwrite::Refuse).expect_err("grid").to_string();
        assert!(text.contains("grid"), "{text}");
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name)
}

#[test]
fn the_sample_scans_are_as_described() {
    let greys = LabelGreys::spread(2);
    let em = Scan::read(sample("em_slice26_image.png")).expect("image");
    let cells = read_labels(sample("em_slice26_label.png"), &greys).expect("label");
    assert_eq!((em.dims(), cells.dim(), em.channels()), ([1, 200, 200], (1, 200, 200), 1));
    let membrane = cells.iter().filter(|l| **l == 0).count() as f64 / cells.len() as f64;
    assert!((0.15..0.30).contains(&membrane), "{membrane}");
    assert_eq!(majority_label(cells.view()), 1);

    let scan = Scan::read(sample("hippocampus_003.nii.gz")).expect("image");
    let parts = Scan::read(sample("hippocampus_003_label.nii.gz")).expect("label");
    assert_eq!(scan.dims(), [35, 52, 34]);
    assert_eq!(parts.geometry(), scan.geometry());
    let parts = imaging::labels_of(&parts, &greys).expect("labels");
    assert_eq!(parts.iter().max(), Some(&2));
    let styles = LabelStyle::named(&["background", "anterior", "posterior"]);
    assert!(colourful(&draw(&case(&scan, &parts, Some(&parts), &styles)), 0.35, 0.97) > 0.02);
}
