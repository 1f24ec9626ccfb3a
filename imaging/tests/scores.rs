//! Scores: averaged over patches, read out, written.
#![expect(clippy::expect_used, reason = "tests")]

mod common;

use common::{Nifti, encode, plain, scan_of, write};
use imaging::{
    Axes, Overwrite, Preprocessing, Scan, Size, check_scores_output, labels_of_scores, prepare, write_scores,
};
use ndarray::{Array4, Axis};
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};

#[test]
fn scores_are_weighted_means_over_the_patches_that_see_a_voxel() {
    for (axes, network) in [(Axes::Zyx, [4, 6, 5]), (Axes::Xyz, [5, 6, 4])] {
        let scan = scan_of(7, 6, 9);
        let how = Preprocessing { axes, ..plain(Size::Patches { overlap: 2 }) };
        let prepared = prepare(&scan, &how, network).expect("fits");
        assert_eq!(prepared.patch_count(), 3 * 3);
        // Scores by patch and place; the input tells where a voxel of the patch lies in the scan.
        let score =
            |patch: usize, channel: usize, at: usize| ((7 * patch + 3 * channel + at) % 11) as f32 - 4.0;
        let gauss = |i: usize, n: usize| {
            let n = n as f64;
            (-((i as f64 - (n - 1.0) / 2.0) / (n / 8.0)).powi(2) / 2.0).exp()
        };
        let mut blend = prepared.blend(2);
        let mut sums = Array4::<f64>::zeros((2, 7, 6, 9));
        let mut weights = Array4::<f64>::zeros((2, 7, 6, 9));
        for patch in 0..prepared.patch_count() {
            let input = prepared.input(patch);
            let (_, d, h, w) = input.dim();
            let scores =
                Array4::from_shape_fn((2, d, h, w), |(c, i, j, k)| score(patch, c, i + 2 * j + 3 * k));
            for ((c, i, j, k), &s) in scores.indexed_iter() {
                let place = input[[0, i, j, k]] as usize - 1;
                let at = scan.voxels().iter().position(|v| *v as usize - 1 == place).expect("a voxel");
                let at = [c, at / 54, at / 9 % 6, at % 9];
                let weight = gauss(i, d) * gauss(j, h) * gauss(k, w);
                sums[at] += weight * f64::from(s);
                weights[at] += weight;
            }
            blend.add(&scores).expect("a patch");
        }
        let found = blend.finish().expect("all patches");
        assert!(weights.iter().all(|w| *w > 0.0));
        for ((found, sum), weight) in found.iter().zip(&sums).zip(&weights) {
            assert!((f64::from(*found) - sum / weight).abs() < 1e-5, "{found} {}", sum / weight);
        }
    }
}

#[test]
fn one_patch_keeps_its_scores_and_what_it_does_not_see_is_zero() {
    let prepared = prepare(&scan_of(1, 3, 6), &plain(Size::CentrePadCrop), [1, 6, 3]).expect("fits");
    let scores = Array4::from_shape_fn((2, 1, 6, 3), |(c, _, y, x)| (1 + 20 * c + 3 * y + x) as f32 / 3.0);
    let mut blend = prepared.blend(2);
    blend.add(&scores).expect("the patch");
    assert!(blend.add(&scores).is_err(), "there is one patch");
    let found = blend.finish().expect("done");
    for ((c, _, y, x), &found) in found.indexed_iter() {
        let inside = (1..4).contains(&x);
        let wanted = if inside { scores[[c, 0, y + 1, x - 1]] } else { 0.0 };
        assert_eq!(found, wanted);
    }
    assert!(prepared.blend(2).finish().is_err(), "its patch is missing");
    assert!(prepared.blend(3).add(&scores).is_err(), "another number of channels");
}

#[test]
fn ties_go_to_the_lowest_label_and_one_channel_to_its_sign() {
    let scores = |channels, values: &[f32]| {
        Array4::from_shape_vec((channels, 1, 1, values.len() / channels), values.to_vec()).expect("shape")
    };
    let labels = labels_of_scores(&scores(3, &[1.0, 0.0, 2.0, 1.0, 3.0, 2.0, 0.5, 3.0, 2.5]));
    assert_eq!(labels.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let labels = labels_of_scores(&scores(1, &[-1.0, 0.0, 1e-9]));
    assert_eq!(labels.iter().copied().collect::<Vec<_>>(), [0, 0, 1]);
}

#[test]
fn scores_lie_on_the_scans_grid_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = Nifti::new(&[3, 2, 2], 4, encode(&[0.0; 12], 4, true));
    (file.version, file.big, file.qform_code, file.descrip) = (1, true, 1, b"Doe^John");
    let scan = Scan::read(write(folder.path(), "scan.nii", &file.bytes())).expect("good");
    let scores =
        Array4::from_shape_fn((3, 2, 2, 3), |(c, z, y, x)| (c * 12 + z * 6 + y * 3 + x) as f32 / 8.0);
    for name in ["scores.nii", "scores.nii.gz"] {
        let out = folder.path().join(name);
        write_scores(&out, &scores, &scan, Overwrite::Refuse).expect("written");
        let object = ReaderOptions::new().read_file(&out).expect("nifti-rs reads it");
        let header = object.header();
        assert_eq!((header.datatype, header.bitpix, header.dim[..5].to_vec()), (16, 32, vec![4, 3, 2, 2, 3]));
        assert_eq!((header.qform_code, header.srow_x, header.xyzt_units), (1, [-0.5, 0.0, 0.0, 90.0], 2));
        let voxels = object.into_volume().into_ndarray::<f32>().expect("voxels");
        for (channel, scores) in scores.outer_iter().enumerate() {
            let found = voxels.index_axis(Axis(3), channel);
            assert_eq!(found.t().iter().collect::<Vec<_>>(), scores.iter().collect::<Vec<_>>());
        }
        assert!(write_scores(&out, &scores, &scan, Overwrite::Refuse).is_err(), "it exists");
    }
    let error = check_scores_output(&folder.path().join("scores.png"), Overwrite::Refuse);
    assert!(error.expect_err("a picture").to_string().contains(".nii"));
}
