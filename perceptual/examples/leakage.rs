//! Measures on real images what both transformations show, and draws it.
//!
//! ```text
//! cargo run --release -p perceptual --example leakage -- SHARED OUT
//! ```
//!
//! SHARED holds `data` (its README describes it), OUT is a folder for pictures. Printed: SSIM and MSE of what is sent and
//! of what attacks make of it, on slices of hippocampus MR volumes and EM sections for several morphing factors; the
//! known-plaintext attack with natural images; the locally connected attack on CIFAR-10 pictures with one key and with a
//! key per image.

#![expect(clippy::unwrap_used, reason = "a tool for developers may fail loudly")]

use imaging::Scan;
use models::graph::Shape;
use ndarray::{Array3, Array4, Axis, s};
use perceptual::attack::known::{Pair, images_needed, recover};
use perceptual::attack::local::{Training, attack};
use perceptual::attack::{blocks, fold};
use perceptual::keys::{MasterKey, Scope};
use perceptual::morph::{Blocks, MorphKey};
use perceptual::pixel::{Steps, encrypt};
use perceptual::quality::{mse, ssim};
use std::path::{Path, PathBuf};

/// Side of the square slices.
const SIDE: usize = 32;

fn main() {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [shared, out] = &arguments[..] else { unreachable!("SHARED and OUT") };
    std::fs::create_dir_all(out).unwrap();
    let data = shared.join("data");
    let mr = mr_slices(&data, 40);
    println!("{} MR slices of {SIDE}×{SIDE}, 8 bits after scaling each to its largest value", mr.len());
    pixel_figures("MR", &mr);
    let em = em_crops(&data, 8, 128);
    println!("{} EM crops of 128×128", em.len());
    pixel_figures("EM", &em);
    morph_figures(&mr, out);
    known_figures(&mr);
    local_figures(&data);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The middle slice of each volume, cropped around the centre and scaled to 0..=255.
fn mr_slices(data: &Path, count: usize) -> Vec<Array4<u16>> {
    let volumes = files(&data.join("msd_hippocampus/images"));
    volumes
        .iter()
        .filter_map(|file| {
            let scan = Scan::read(file).unwrap();
            let [depth, height, width] = scan.dims();
            if height < SIDE || width < SIDE {
                return None;
            }
            let (top, left) = ((height - SIDE) / 2, (width - SIDE) / 2);
            let voxels = scan.voxels();
            let slice = voxels.slice(s![..1, depth / 2..=depth / 2, top..top + SIDE, left..left + SIDE]);
            let most = slice.iter().copied().fold(1.0_f32, f32::max);
            Some(slice.mapv(|v| (v / most * 255.0).round() as u16))
        })
        .take(count)
        .collect()
}

fn em_crops(data: &Path, count: usize, side: usize) -> Vec<Array4<u16>> {
    let images = files(&data.join("em_isbi2012/image"));
    let read = |file: &PathBuf| {
        Scan::read(file).unwrap().voxels().slice(s![..1, .., ..side, ..side]).mapv(|v| v as u16)
    };
    images
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "png"))
        .take(count)
        .map(read)
        .collect()
}

fn to_f64(image: &Array4<u16>) -> Array4<f64> {
    image.mapv(f64::from)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn pixel_figures(what: &str, images: &[Array4<u16>]) {
    let key = MasterKey::from_bytes([1; 16]);
    let looks: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(index, plain)| {
            let mut secret = plain.clone();
            let seed = key.for_image(Scope::PerImage, &index.to_string());
            encrypt(&mut secret, 8, &seed, Steps { shuffle: false }).unwrap();
            let folded = fold::fold(&secret, 8);
            let plain = to_f64(plain);
            let figures = |image: &Array4<f64>| {
                (ssim(plain.view(), image.view(), 255.0).unwrap(), mse(plain.view(), image.view()))
            };
            let sides = [true, false].map(|dark| figures(&fold::reconstruct(&folded, 8, dark)));
            (figures(&to_f64(&secret)), if sides[0].0 > sides[1].0 { sides[0] } else { sides[1] })
        })
        .collect();
    let sent = (mean(looks.iter().map(|l| l.0.0)), mean(looks.iter().map(|l| l.0.1)));
    let seen = (mean(looks.iter().map(|l| l.1.0)), mean(looks.iter().map(|l| l.1.1)));
    println!(
        "pixel, {what}: sent SSIM {:.3} MSE {:.0}; folded SSIM {:.3} MSE {:.0}",
        sent.0, sent.1, seen.0, seen.1
    );
}

fn morph_key(kappa: usize, kind: Blocks) -> MorphKey {
    let shape = Shape { channels: 1, dims: [1, SIDE, SIDE] };
    MorphKey::new(MasterKey::from_bytes([2; 16]), shape, kappa, kind).unwrap()
}

/// For each morphing factor what is sent and its blocks' energies; one picture of all.
fn morph_figures(images: &[Array4<u16>], out: &Path) {
    let shown = to_f64(&images[0]);
    let mut rows = vec![[shown.clone(), shown.clone()]];
    for kappa in [1, 4, 16, 32, 64, 128, 256, 512] {
        let key = morph_key(kappa, Blocks::Repeated);
        let looks = |image: &Array4<u16>| {
            let morphed = key.morph(&to_f64(image)).unwrap();
            let sent = blocks::stretched(&blocks::as_image(&morphed, key.shape()), 255.0);
            let energy = blocks::stretched(&blocks::energies(&morphed, key.shape(), key.block()), 255.0);
            [sent, energy]
        };
        let figures: Vec<_> = images
            .iter()
            .map(|image| {
                let plain = to_f64(image);
                looks(image).map(|seen| {
                    (ssim(plain.view(), seen.view(), 255.0).unwrap(), mse(plain.view(), seen.view()))
                })
            })
            .collect();
        let average =
            |look: usize, f: fn(&(f64, f64)) -> f64| mean(figures.iter().map(|both| f(&both[look])));
        println!(
            "morph, MR: kappa {kappa} (q {}): sent SSIM {:.3} MSE {:.0}; energies SSIM {:.3} MSE {:.0}",
            key.block(),
            average(0, |f| f.0),
            average(0, |f| f.1),
            average(1, |f| f.0),
            average(1, |f| f.1)
        );
        rows.push(looks(&images[0]));
    }
    write_mosaic(&out.join("morph_kappa.png"), &rows);
}

/// What is sent above, its energies below, a column per morphing factor; the first column is the plain image.
fn write_mosaic(path: &Path, rows: &[[Array4<f64>; 2]]) {
    const ZOOM: usize = 5;
    let step = SIDE * ZOOM + 6;
    let mosaic = Array4::from_shape_fn((1, 1, 2 * step, rows.len() * step), |(_, _, y, x)| {
        let image = &rows[x / step][y / step];
        let (y, x) = (y % step / ZOOM, x % step / ZOOM);
        if y < SIDE && x < SIDE { image[[0, 0, y, x]].clamp(0.0, 255.0) as f32 } else { 255.0 }
    });
    let geometry = imaging::Geometry::unknown();
    let replace = imaging::Overwrite::Replace;
    perceptual::write::write_scan(path, &mosaic, imaging::SampleType::U8, &geometry, replace).unwrap();
    println!("wrote {}", path.display());
}

/// The known-plaintext attack with natural images.
fn known_figures(images: &[Array4<u16>]) {
    let (known, unknown) = images.split_at(images.len() / 2);
    for (kappa, kind) in
        [(32, Blocks::Repeated), (16, Blocks::Repeated), (64, Blocks::Repeated), (64, Blocks::Independent)]
    {
        let key = morph_key(kappa, kind);
        let pair = |image: &Array4<u16>| {
            let plain = to_f64(image);
            Pair { morphed: key.morph(&plain).unwrap(), plain: plain.iter().copied().collect() }
        };
        for count in [1, 2, 4, 8, 16].into_iter().filter(|&count| count <= known.len()) {
            let pairs: Vec<Pair> = known[..count].iter().map(pair).collect();
            let found = recover(&pairs, key.block(), key.distinct()).unwrap();
            let seen = mean(unknown.iter().map(|image| {
                let Pair { plain, morphed } = pair(image);
                let [plain, seen] =
                    [plain, found.unmorph(&morphed)].map(|v| blocks::as_image(&v, key.shape()));
                ssim(plain.view(), seen.view(), 255.0).unwrap()
            }));
            println!(
                "known images, MR: kappa {kappa}, q {}, {kind:?}: {count} of {} needed: rank {}, SSIM of others {seen:.3}",
                key.block(),
                images_needed(&key),
                found.rank
            );
        }
    }
}

/// The locally connected attack on CIFAR-10, one key against a key per image.
fn local_figures(data: &Path) {
    let strip = Scan::read(data.join("cifar10/convnetjs_cifar10_batch_0.png")).unwrap();
    let (train, test) = (900, 100);
    let voxels = strip.voxels();
    let plain: Array3<u16> =
        voxels.index_axis(Axis(1), 0).permuted_axes([1, 0, 2]).as_standard_layout().mapv(|v| v as u16);
    let key = MasterKey::from_bytes([3; 16]);
    for (shuffle, scope) in
        [(false, Scope::Same), (false, Scope::PerImage), (true, Scope::Same), (true, Scope::PerImage)]
    {
        let mut secret = plain.clone();
        for (index, mut image) in secret.outer_iter_mut().enumerate() {
            let mut samples = image.to_owned().into_shape_with_order((3, 1, 32, 32)).unwrap();
            let seed = key.for_image(scope, &index.to_string());
            encrypt(&mut samples, 8, &seed, Steps { shuffle }).unwrap();
            image.assign(&samples.into_shape_with_order((3, 1024)).unwrap());
        }
        let unit = |images: &Array3<u16>, from: usize, to: usize| {
            images.slice(s![from..to, .., ..]).mapv(|v| f32::from(v) / 255.0)
        };
        let seen = attack(
            unit(&secret, 0, train).view(),
            unit(&plain, 0, train).view(),
            unit(&secret, train, train + test).view(),
            &Training { epochs: 10, ..Training::default() },
        );
        let truth = unit(&plain, train, train + test);
        let figure = mean(seen.outer_iter().zip(truth.outer_iter()).map(|(seen, truth)| {
            let image = |v: ndarray::ArrayView2<'_, f32>| {
                v.mapv(f64::from).into_shape_with_order((3, 1, 32, 32)).unwrap()
            };
            ssim(image(truth).view(), image(seen).view(), 1.0).unwrap()
        }));
        println!(
            "locally connected, CIFAR-10, {train} pairs, shuffle {shuffle}, {scope:?}: SSIM {figure:.3}"
        );
    }
}
