//! Scans to network inputs and labels back.
#![expect(clippy::expect_used, reason = "tests")]

mod common;

use common::{Nifti, plain, scan_of, shared, write};
use imaging::{
    Axes, Colour, Divisor, Geometry, Intensity, LabelGreys, Preprocessing, Scan, Size, prepare, restore,
    score,
};
use ndarray::{Array3, Array4};
use proptest::prelude::*;

/// Marks of voxels, for labels that tell where they came from.
fn marks(input: &Array4<f32>) -> Array3<u8> {
    let (_, d, h, w) = input.dim();
    Array3::from_shape_fn((d, h, w), |(i, j, k)| (input[[0, i, j, k]] as u32 % 251) as u8)
}

#[test]
fn padding_and_cropping_are_centred() {
    let prepared = prepare(&scan_of(1, 3, 6), &plain(Size::CentrePadCrop), [1, 6, 3]).expect("fits");
    let input = prepared.input(0);
    // Three rows into six: one zero row before, two after. Six columns to three: one off before, two after.
    assert_eq!(input.dim(), (1, 1, 6, 3));
    assert_eq!(input[[0, 0, 0, 0]], 0.0);
    assert_eq!(input[[0, 0, 1, 0]], 2.0);
    assert_eq!(input[[0, 0, 3, 2]], 24.0);
    assert_eq!(input[[0, 0, 4, 0]], 0.0);
    let back = restore(&Array3::from_elem((1, 6, 3), 1), &prepared).expect("labels");
    let wanted: Vec<u8> = [0u8, 1, 1, 1, 0, 0].repeat(3);
    assert_eq!(back.iter().copied().collect::<Vec<_>>(), wanted);
}

#[test]
fn axes_are_explicit() {
    let scan = scan_of(2, 3, 4);
    let mut how = plain(Size::Exact);
    how.axes = Axes::Xyz;
    let prepared = prepare(&scan, &how, [4, 3, 2]).expect("x, y, z");
    let input = prepared.input(0);
    assert_eq!(input[[0, 3, 1, 0]], scan.voxels()[[0, 0, 1, 3]]);
    assert_eq!(prepared.restore(&[marks(&input)]).expect("labels"), marks(&scan.voxels().to_owned()));
    // A planar network takes (x, y) of a picture.
    let picture = scan.slice(0).expect("slice");
    let input = prepare(&picture, &how, [1, 4, 3]).expect("x, y").input(0);
    assert_eq!(input[[0, 0, 3, 1]], picture.voxels()[[0, 0, 1, 3]]);
}

#[test]
fn sizes_that_do_not_fit_are_named_with_a_remedy() {
    let scan = scan_of(1, 30, 20);
    for (size, dims) in [(Size::Exact, [1, 16, 16]), (Size::CentrePad, [1, 64, 16])] {
        let text = prepare(&scan, &plain(size), dims).expect_err("too large").to_string();
        for part in ["scan.nii", "20 × 30", "16 × ", "crop"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    let volume = prepare(&scan_of(3, 16, 16), &plain(Size::CentrePadCrop), [1, 16, 16]);
    assert!(volume.expect_err("a volume").to_string().contains("single slices"));
}

#[test]
fn intensities_follow_their_formulas() {
    let values = [3.0f32, 5.0, 7.0, 9.0, 1000.0];
    let scan = Scan::from_voxels(
        "v",
        Array4::from_shape_vec((1, 1, 1, 5), values.to_vec()).expect("five"),
        Geometry::unknown(),
    );
    let apply = |intensity| {
        let how = Preprocessing { intensity, ..plain(Size::Exact) };
        prepare(&scan, &how, [1, 1, 5]).map(|p| p.input(0).iter().copied().collect::<Vec<f32>>())
    };
    let mean = values.iter().sum::<f32>() / 5.0;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 5.0).sqrt();
    let z = apply(Intensity::Zscore { clip: Some(1.5) }).expect("z");
    for (z, v) in z.iter().zip(values) {
        assert!((z - ((v - mean) / std).clamp(-1.5, 1.5) / 1.5).abs() < 1e-6);
    }
    assert_eq!(z[4], 1.0, "clipped");
    assert!(apply(Intensity::Zscore { clip: None }).expect("z")[4] > 1.9);
    assert_eq!(apply(Intensity::Unit { divisor: Divisor::Value(255.0) }).expect("unit")[1], 5.0 / 255.0);
    assert_eq!(
        apply(Intensity::Window { low: 4.0, high: 8.0 }).expect("window"),
        [0.0, 0.25, 0.75, 1.0, 1.0]
    );
    let fixed = Intensity::Fixed { low: 4.0, high: 8.0, mean: 6.0, std: 2.0 };
    assert_eq!(apply(fixed).expect("fixed"), [-1.0, -0.5, 0.5, 1.0, 1.0]);
    for wrong in [
        Intensity::Zscore { clip: Some(0.0) },
        Intensity::Unit { divisor: Divisor::Value(0.0) },
        Intensity::Unit { divisor: Divisor::TypeMax },
        Intensity::Window { low: 2.0, high: 2.0 },
    ] {
        assert!(apply(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn scans_without_information_are_refused() {
    let how = Preprocessing { intensity: Intensity::Zscore { clip: Some(4.0) }, ..plain(Size::Exact) };
    let constant = Scan::from_voxels("c", Array4::ones((1, 1, 2, 2)), Geometry::unknown());
    assert!(prepare(&constant, &how, [1, 2, 2]).expect_err("constant").to_string().contains("same value"));
    let nan = Scan::from_voxels("n", Array4::from_elem((1, 1, 2, 2), f32::NAN), Geometry::unknown());
    assert!(prepare(&nan, &how, [1, 2, 2]).expect_err("NaN").to_string().contains("4 of 4"));
    let spaced = Preprocessing { spacing: Some([1.0; 3]), ..how };
    assert!(prepare(&constant, &spaced, [1, 2, 2]).expect_err("no spacing").to_string().contains("spacing"));
}

#[test]
fn resampling_halves_and_returns() {
    let voxels = Array4::from_shape_fn((1, 2, 4, 8), |(_, _, _, x)| x as f32);
    let scan = Scan::from_voxels("r", voxels, Geometry { known: true, ..Geometry::unknown() });
    let how = Preprocessing { spacing: Some([2.0, 1.0, 1.0]), ..plain(Size::Exact) };
    let prepared = prepare(&scan, &how, [2, 4, 4]).expect("half as many columns");
    let row: Vec<f32> = prepared.input(0).iter().take(4).copied().collect();
    assert_eq!(row, [0.5, 2.5, 4.5, 6.5], "means of two neighbours");
    let labels = Array3::from_shape_fn((2, 4, 4), |(_, _, x)| x as u8);
    let back = restore(&labels, &prepared).expect("labels");
    assert_eq!(back.iter().take(8).copied().collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3]);
    let far = Preprocessing { spacing: Some([0.001; 3]), ..how };
    assert!(prepare(&scan, &far, [2, 4, 4]).expect_err("growth").to_string().contains("pixdim"));
}

#[test]
fn reorientation_follows_the_affine() {
    let dir = tempfile::tempdir().expect("folder");
    // x of the file runs to the back, y up, z to the left.
    let mut file = Nifti::new(&[2, 3, 4], 2, (0..24).collect());
    file.srow = [[0.0, 0.1, -2.0, 0.0], [-0.5, 0.0, 0.0, 0.0], [0.0, 0.75, 0.0, 0.0]];
    let scan = Scan::read(write(dir.path(), "o.nii", &file.bytes())).expect("good");
    let codes = imaging::AxisCodes::try_from("RAS".to_owned()).expect("codes");
    let how = Preprocessing { orientation: Some(codes), ..plain(Size::Exact) };
    let prepared = prepare(&scan, &how, [3, 2, 4]).expect("z up 3, y front 2, x right 4");
    let input = prepared.input(0);
    for (k, j, i) in itertools(3, 2, 4) {
        assert_eq!(input[[0, k, j, i]], scan.voxels()[[0, 3 - i, k, 1 - j]]);
    }
    assert_eq!(prepared.restore(&[marks(&input)]).expect("labels"), marks(&scan.voxels().to_owned()));
    for wrong in ["RAX", "RRS", "RA", "ras"] {
        assert!(imaging::AxisCodes::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
    assert_eq!(String::from(codes), "RAS");
}

fn itertools(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

#[test]
fn a_volume_goes_through_a_planar_network_slice_by_slice() {
    let scan = scan_of(3, 4, 4);
    let prepared = prepare(&scan, &plain(Size::Patches { overlap: 1 }), [1, 4, 4]).expect("slices");
    assert_eq!(prepared.patch_count(), 3);
    let labels: Vec<_> = (0..3).map(|k| marks(&prepared.input(k))).collect();
    assert_eq!(prepared.restore(&labels).expect("labels"), marks(&scan.voxels().to_owned()));
    assert!(prepared.restore(&labels[..2]).is_err());
}

#[test]
fn the_manifest_is_text_that_refuses_unknown_words() {
    let text = r#"{"orientation":"LPS","spacing":[1.0,1.0,1.5],"intensity":{"zscore":{"clip":4.0}},
        "size":"centre_pad_crop","axes":"xyz"}"#;
    let how: Preprocessing = serde_json::from_str(text).expect("manifest");
    assert_eq!((how.axes, how.colour), (Axes::Xyz, Colour::Grey));
    assert_eq!(how.intensity, Intensity::Zscore { clip: Some(4.0) });
    let again = serde_json::to_string(&how).expect("text");
    assert_eq!(serde_json::from_str::<Preprocessing>(&again).expect("same"), how);
    assert!(serde_json::from_str::<Preprocessing>(&text.replace("axes", "axis")).is_err());
    assert!(serde_json::from_str::<Preprocessing>(&text.replace("LPS", "LPX")).is_err());
}

#[test]
fn hippocampus_volumes_fit_their_network() {
    let Some(folder) = shared("msd_hippocampus") else { return };
    let mut names: Vec<_> =
        std::fs::read_dir(folder.join("labels")).expect("folder").flatten().map(|e| e.file_name()).collect();
    names.sort();
    let how = Preprocessing { axes: Axes::Xyz, ..plain(Size::CentrePadCrop) };
    let greys = LabelGreys::identity();
    for name in names.iter().step_by(40) {
        let scan = Scan::read(folder.join("labels").join(name)).expect("labels");
        let truth = imaging::labels_of(&scan, &greys).expect("labels");
        let prepared = prepare(&scan, &how, [40, 64, 48]).expect("fits");
        let back = prepared.restore(&[prepared.input(0).index_axis(ndarray::Axis(0), 0).mapv(|v| v as u8)]);
        let scores = score(back.expect("labels").view(), truth.view(), 3);
        assert!(scores[1..].iter().all(|s| s.dice > Some(0.99)), "{name:?}: {scores:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_voxel_is_labelled_once_by_its_own_patch(
        dims in prop::array::uniform3(1usize..20), network in prop::array::uniform3(1usize..9),
        overlap in 0usize..9, xyz: bool, flip in 0usize..4,
    ) {
        let mut scan = scan_of(dims[0], dims[1], dims[2]);
        let mut how = plain(Size::Patches { overlap });
        how.axes = if xyz { Axes::Xyz } else { Axes::Zyx };
        if flip > 0 {
            let codes = ["RAS", "LSP", "AIR"][flip - 1];
            how.orientation = Some(imaging::AxisCodes::try_from(codes.to_owned()).expect("codes"));
            scan = Scan::from_voxels("s", scan.voxels().to_owned(), *scan.geometry());
        }
        match prepare(&scan, &how, network) {
            Err(e) => prop_assert!(e.to_string().contains("overlap"), "{e}"),
            Ok(prepared) => {
                let labels: Vec<_> = (0..prepared.patch_count()).map(|k| marks(&prepared.input(k))).collect();
                prop_assert_eq!(prepared.restore(&labels).expect("labels"), marks(&scan.voxels().to_owned()));
            }
        }
    }
}
