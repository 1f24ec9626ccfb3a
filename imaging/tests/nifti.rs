//! NIfTI of every kind that is read, every kind that is refused, and damaged files.
#![expect(clippy::expect_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{Nifti, encode, gzip, shared, write};
use imaging::{ImagingError, Scan};
use ndarray::Array3;
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
use proptest::prelude::*;

const NUMERIC: [i16; 10] = [2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280];

fn ramp(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i * 5 % 120) as f64).collect()
}

#[test]
fn all_numeric_types_versions_orders_and_packings() {
    let folder = tempfile::tempdir().expect("folder");
    let values = ramp(2 * 3 * 4);
    for datatype in NUMERIC {
        for version in [1, 2] {
            for big in [false, true] {
                let mut file = Nifti::new(&[2, 3, 4], datatype, encode(&values, datatype, big));
                (file.version, file.big) = (version, big);
                let plain = write(folder.path(), "a.nii", &file.bytes());
                let packed = write(folder.path(), "b.nii.gz", &gzip(&file.bytes()));
                file.single = false;
                let pair = write(folder.path(), "c.hdr", &file.header());
                let half = write(folder.path(), "c.img", &file.data);
                for path in [plain, packed, pair, half] {
                    let scan = Scan::read(&path).expect("a good file");
                    assert_eq!(scan.dims(), [4, 3, 2], "z, y, x");
                    assert!(scan.voxels().iter().zip(&values).all(|(a, b)| f64::from(*a) == *b), "{path:?}");
                    assert_eq!(scan.geometry().spacing, [0.5, 0.75, 2.0]);
                    assert_eq!(scan.geometry().affine[0], [-0.5, 0.0, 0.0, 90.0]);
                }
            }
        }
    }
}

#[test]
fn slope_and_intercept_apply_unless_they_are_unset() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = Nifti::new(&[3], 2, vec![1, 2, 200]);
    let mut read = |slope: f64, inter: f64| {
        (file.slope, file.inter) = (slope, inter);
        Scan::read(write(folder.path(), "s.nii", &file.bytes()))
            .map(|s| s.voxels().iter().copied().collect::<Vec<_>>())
    };
    assert_eq!(read(0.5, -1.0).expect("scaled"), [-0.5, 0.0, 99.0]);
    assert_eq!(read(0.0, 7.0).expect("unset"), [1.0, 2.0, 200.0]);
    assert_eq!(read(f64::NAN, 7.0).expect("unset"), [1.0, 2.0, 200.0]);
    assert!(message(&read(2.0, f64::NAN).expect_err("no intercept")).contains("scl_inter"));
}

#[test]
fn the_quaternion_places_the_grid_when_there_is_no_sform() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = Nifti::new(&[2, 2, 2], 2, vec![0; 8]);
    // A quarter turn about z with a left-handed grid: (a, b, c, d) = (√½, 0, 0, √½), qfac −1.
    (file.sform_code, file.qform_code) = (0, 1);
    file.quatern = [0.0, 0.0, std::f64::consts::FRAC_1_SQRT_2, 10.0, 20.0, 30.0];
    file.pixdim[0] = -1.0;
    let scan = Scan::read(write(folder.path(), "q.nii", &file.bytes())).expect("good");
    let wanted = [[0.0, -0.75, 0.0, 10.0], [0.5, 0.0, 0.0, 20.0], [0.0, 0.0, -2.0, 30.0]];
    for (row, wanted) in scan.geometry().affine.iter().zip(wanted) {
        assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?} {wanted:?}");
    }
}

#[test]
fn colour_is_kept_and_alpha_dropped() {
    let folder = tempfile::tempdir().expect("folder");
    let rgb = Nifti::new(&[2, 1, 1], 128, vec![255, 0, 0, 10, 20, 30]);
    let rgba = Nifti::new(&[2, 1, 1], 2304, vec![255, 0, 0, 9, 10, 20, 30, 9]);
    for file in [rgb, rgba] {
        let scan = Scan::read(write(folder.path(), "c.nii", &file.bytes())).expect("good");
        assert_eq!(scan.channels(), 3);
        assert_eq!(scan.voxels().iter().copied().collect::<Vec<_>>(), [255.0, 10.0, 0.0, 20.0, 0.0, 30.0]);
        assert!((scan.grey()[[0, 0, 1]] - (2.99 + 11.74 + 3.42)).abs() < 1e-4);
    }
}

fn message(error: &ImagingError) -> String {
    error.to_string()
}

#[test]
fn refusals_name_file_field_and_remedy() {
    let folder = tempfile::tempdir().expect("folder");
    let good = || Nifti::new(&[2, 2, 2], 4, vec![0; 16]);
    let mut cases: Vec<(Nifti, &str, &str)> = Vec::new();
    let mut case = |change: &dyn Fn(&mut Nifti), field: &'static str, word: &'static str| {
        let mut file = good();
        change(&mut file);
        cases.push((file, field, word));
    };
    case(&|f| f.dim[0] = 9, "dim[0]", "again");
    case(&|f| f.dim[2] = -2, "dim[2]", "again");
    case(&|f| (f.dim[0], f.dim[4]) = (4, 3), "dim[4]", "extract");
    case(&|f| f.dim[1] = 30000, "dim", "again");
    case(&|f| f.dim = [3, 32767, 32767, 32767, 1, 1, 1, 1], "size", "limit");
    case(&|f| f.pixdim[2] = f64::NAN, "pixdim[2]", "again");
    case(&|f| f.srow[1][3] = f64::INFINITY, "srow", "again");
    case(&|f| f.data.truncate(15), "dim", "again");
    case(&|f| f.single = false, "magic", "folder");
    for (file, field, remedy) in cases {
        let path = write(folder.path(), "bad.nii", &file.bytes());
        let text = message(&Scan::read(&path).expect_err(field));
        for part in ["bad.nii", field, remedy] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    let mut complex = good().bytes();
    complex[70] = 32;
    let text = message(&Scan::read(write(folder.path(), "x.nii", &complex)).expect_err("complex"));
    assert!(text.contains("complex") && text.contains("magnitude"), "{text}");
    let mut analyze = good().bytes();
    analyze[344] = 0;
    let text = message(&Scan::read(write(folder.path(), "x.hdr", &analyze)).expect_err("Analyze"));
    assert!(text.contains("Analyze"), "{text}");
}

#[test]
fn a_gzip_bomb_is_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().expect("folder");
    // 600 MB of voxels in a few hundred bytes that could at best hold half a megabyte.
    let file = Nifti::new(&[500, 500, 600], 16, Vec::new());
    let path = write(folder.path(), "bomb.nii.gz", &gzip(&file.bytes()));
    let text = message(&Scan::read(path).expect_err("bomb"));
    assert!(text.contains("can hold at most"), "{text}");
    // Far more data than the header speaks of.
    let file = Nifti::new(&[2, 2, 2], 2, vec![0; 3 << 20]);
    let path = write(folder.path(), "tail.nii.gz", &gzip(&file.bytes()));
    assert!(message(&Scan::read(path).expect_err("tail")).contains("follow the image"));
}

#[test]
fn the_checksum_of_a_gzip_stream_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let mut packed = gzip(&Nifti::new(&[4, 4, 4], 2, (0..64).collect()).bytes());
    let crc = packed.len() - 8;
    packed[crc] ^= 1;
    let text = message(&Scan::read(write(folder.path(), "crc.nii.gz", &packed)).expect_err("checksum"));
    assert!(text.contains("gzip"), "{text}");
}

/// nifti-rs's opinion of a file: grid and voxels, x fastest.
fn independent(path: &Path) -> Option<(Vec<usize>, Vec<f64>)> {
    let object = ReaderOptions::new().read_file(path).ok()?;
    let voxels = object.into_volume().into_ndarray::<f64>().ok()?;
    let shape = voxels.shape().to_vec();
    Some((shape, voxels.t().iter().copied().collect()))
}

#[test]
fn public_files_of_odd_kinds() {
    let Some(root) = shared("nifti_odd") else { return };
    let (mut read, mut refused, mut compared) = (0, 0, 0);
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match Scan::read(&path) {
                Err(e) => {
                    refused += 1;
                    println!("refused: {e}");
                    assert!(message(&e).contains(&path.file_stem().expect("name").to_string_lossy()[..2]));
                }
                Ok(scan) => {
                    read += 1;
                    labels_return_on_the_grid_of(&scan);
                    // nifti-rs panics on colour.
                    let other = (scan.channels() == 1).then(|| independent(&path));
                    if let Some(Some((shape, voxels))) = other {
                        let [z, y, x] = scan.dims();
                        assert_eq!(shape.iter().product::<usize>(), x * y * z, "{path:?}");
                        for (a, b) in scan.voxels().iter().map(|v| f64::from(*v)).zip(voxels) {
                            let close = a == b || (a - b).abs() <= 1e-5 * b.abs() || a.is_nan() && b.is_nan();
                            assert!(close, "{path:?}: {a} here, {b} there");
                        }
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{read} read, {compared} compared with nifti-rs, {refused} refused");
    assert!(read >= 25 && compared >= 15 && refused >= 5);
}

/// Labels of a scan, written and read back, are u8 and on its grid.
fn labels_return_on_the_grid_of(scan: &Scan) {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("seg.nii.gz");
    let [d, h, w] = scan.dims();
    let labels = Array3::from_shape_fn((d, h, w), |(z, y, x)| ((x + 2 * y + 3 * z) % 5) as u8);
    let greys = imaging::LabelGreys::identity();
    imaging::write_labels(&out, &labels, scan, &greys, imaging::Overwrite::Refuse).expect("written");
    let back = Scan::read(&out).expect("own file");
    assert_eq!((back.geometry(), back.sample_type()), (scan.geometry(), imaging::SampleType::U8));
    assert_eq!(imaging::labels_of(&back, &greys).expect("labels"), labels);
}

/// Sums of voxels (those that are numbers) and first and third row of the affine, as nibabel 5 gives them.
const NIBABEL: [(&str, f64, [f64; 4], [f64; 4]); 10] = [
    ("nibabel/anatomical.nii", 284_166_082.0, [-2.0, 0.0, 0.0, 32.0], [0.0, 0.0, 2.0, -16.0]),
    (
        "nibabel/reoriented_anat_moved.nii",
        32_739_769.449_157_715,
        [4.0, 0.0, 0.0, -35.297_897_338_867_19],
        [0.0, 0.0, 4.0, -27.599_409_103_393_555],
    ),
    ("nibabel/resampled_anat_moved.nii", 7_749_957.098_663_33, [-4.0, 0.0, 0.0, 32.0], [0.0, 0.0, 8.0, 0.0]),
    ("nibabel/standard.nii.gz", 7650.0, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]),
    ("nifti-rs/avg152T1_LR_nifti.nii.gz", 74_825_382.0, [-2.0, 0.0, 0.0, 90.0], [0.0, 0.0, 2.0, -72.0]),
    ("nifti-rs/f32.nii.gz", 166.000_000_715, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
    ("nifti-rs/zstat1.nii.gz", 11_648.372_022, [-4.0, 0.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0]),
    ("nifti-rs/27/int8.nii", 351.0, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
    ("nifti-rs/27/uint64.nii", 351.0, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
    ("nifti-rs/27/float64.nii", 351.0, [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]),
];

#[test]
fn public_files_are_what_nibabel_makes_of_them() {
    let Some(root) = shared("nifti_odd") else { return };
    for (name, sum, x, z) in NIBABEL {
        let scan = Scan::read(root.join(name)).expect(name);
        let found: f64 = scan.voxels().iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).sum();
        assert!((found - sum).abs() <= 1e-6 * sum, "{name}: {found}");
        for (row, wanted) in [(0, x), (2, z)] {
            assert_eq!(scan.geometry().affine[row], wanted, "{name}");
        }
    }
}

#[test]
fn labels_come_back_on_the_same_grid_and_carry_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    for (version, big) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut file = Nifti::new(&[3, 2, 2], 4, encode(&ramp(12), 4, big));
        (file.version, file.big, file.qform_code) = (version, big, 1);
        (file.slope, file.inter, file.descrip) = (3.0, 1.0, b"Doe^John");
        file.quatern = [0.1, 0.2, 0.3, 4.0, 5.0, 6.0];
        let scan = Scan::read(write(folder.path(), "scan.nii", &file.bytes())).expect("good");
        let labels = Array3::from_shape_fn((2, 2, 3), |(z, y, x)| (z + y + x) as u8);
        let out = folder.path().join("seg.nii.gz");
        let greys = imaging::LabelGreys::identity();
        imaging::write_labels(&out, &labels, &scan, &greys, imaging::Overwrite::Replace).expect("written");
        let back = Scan::read(&out).expect("own file");
        assert_eq!(back.geometry(), scan.geometry());
        assert_eq!(imaging::labels_of(&back, &greys).expect("labels"), labels);
        let mut raw = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(std::fs::File::open(&out).expect("file")),
            &mut raw,
        )
        .expect("gzip");
        assert!(!raw.windows(3).any(|w| w == b"Doe"));
        // What an independent reader sees, version 1 only: datatype, scaling, both placements.
        if version == 1 {
            let object = ReaderOptions::new().read_file(&out).expect("nifti-rs reads it");
            let header = object.header();
            assert_eq!((header.datatype, header.bitpix, header.vox_offset), (2, 8, 352.0));
            assert_eq!((header.scl_slope, header.scl_inter), (1.0, 0.0));
            assert_eq!((header.qform_code, header.sform_code), (1, 1));
            assert_eq!(header.srow_x, [-0.5, 0.0, 0.0, 90.0]);
            assert_eq!((header.quatern_b, header.quatern_z), (0.1, 6.0));
            assert_eq!(header.pixdim, [1.0, 0.5, 0.75, 2.0, 1.0, 1.0, 1.0, 1.0]);
            assert_eq!(header.xyzt_units, 10);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        version in 1u8..=2, big: bool, packed: bool,
        cut in 0.0f64..1.3, flips in prop::collection::vec((0.0f64..1.0, 0u8..8), 0..6),
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let mut file = Nifti::new(&[4, 3, 2], 4, encode(&ramp(24), 4, big));
        (file.version, file.big) = (version, big);
        let bytes = file.bytes();
        let mut bytes = if packed { gzip(&bytes) } else { bytes };
        let keep = ((bytes.len() as f64 * cut) as usize).min(bytes.len());
        bytes.truncate(keep);
        for (at, bit) in flips {
            if !bytes.is_empty() {
                let at = (bytes.len() as f64 * at) as usize;
                bytes[at] ^= 1 << bit;
            }
        }
        let path = write(folder.path(), "damaged.nii", &bytes);
        match Scan::read(&path) {
            Ok(scan) => prop_assert!(scan.voxels().len() <= 24 * 1032),
            Err(e) => prop_assert!(e.to_string().contains("damaged.nii")),
        }
    }

    #[test]
    fn truncated_files_are_refused(version in 1u8..=2, packed: bool, lost in 1usize..100) {
        let folder = tempfile::tempdir().expect("folder");
        let mut file = Nifti::new(&[4, 3, 2], 4, encode(&ramp(24), 4, false));
        file.version = version;
        let bytes = if packed { gzip(&file.bytes()) } else { file.bytes() };
        let path = write(folder.path(), "short.nii", &bytes[..bytes.len() - lost]);
        prop_assert!(Scan::read(&path).is_err());
    }
}
