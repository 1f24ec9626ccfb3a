//! PNG and TIFF in and out, and the rules of writing.
#![expect(clippy::expect_used, reason = "tests")]

mod common;

use std::fs::File;
use std::path::Path;

use common::write;
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use imaging::{LabelGreys, Overwrite, SampleType, Scan, check_output, check_writable, write_labels};
use ndarray::Array3;
use proptest::prelude::*;
use tiff::encoder::{TiffEncoder, colortype as tc};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

fn values(scan: &Scan) -> Vec<f32> {
    scan.voxels().iter().copied().collect()
}

#[test]
fn png_of_all_depths_and_colours() {
    let dir = folder();
    let path = dir.path().join("p.png");
    let grey = ImageBuffer::<Luma<u8>, _>::from_raw(3, 2, vec![0u8, 1, 2, 3, 254, 255]).expect("six");
    grey.save(&path).expect("saved");
    let scan = Scan::read(&path).expect("grey");
    assert_eq!((scan.dims(), scan.rank(), scan.channels()), ([1, 2, 3], 2, 1));
    assert_eq!((values(&scan), scan.sample_type()), (vec![0.0, 1.0, 2.0, 3.0, 254.0, 255.0], SampleType::U8));

    let deep = ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, vec![258u16, 65535]).expect("two");
    deep.save(&path).expect("saved");
    let scan = Scan::read(&path).expect("16 bit");
    assert_eq!((values(&scan), scan.sample_type()), (vec![258.0, 65535.0], SampleType::U16));

    let colour = ImageBuffer::<Rgb<u8>, _>::from_raw(2, 1, vec![200u8, 100, 50, 7, 7, 7]).expect("two");
    colour.save(&path).expect("saved");
    let scan = Scan::read(&path).expect("colour");
    assert_eq!(values(&scan), [200.0, 7.0, 100.0, 7.0, 50.0, 7.0]);
    assert!((scan.grey()[[0, 0, 0]] - 124.2).abs() < 1e-3 && (scan.grey()[[0, 0, 1]] - 7.0).abs() < 1e-5);

    let alpha = ImageBuffer::<Rgba<u8>, _>::from_raw(1, 1, vec![1u8, 2, 3, 0]).expect("one");
    alpha.save(&path).expect("saved");
    assert_eq!(values(&Scan::read(&path).expect("alpha")), [1.0, 2.0, 3.0]);
    let alpha = ImageBuffer::<LumaA<u8>, _>::from_raw(1, 1, vec![9u8, 0]).expect("one");
    alpha.save(&path).expect("saved");
    assert_eq!(values(&Scan::read(&path).expect("grey with alpha")), [9.0]);
}

#[test]
fn tiff_pages_are_slices() {
    let dir = folder();
    let path = dir.path().join("stack.tif");
    let mut encoder = TiffEncoder::new(File::create(&path).expect("file")).expect("encoder");
    for page in 0..3u16 {
        let data: Vec<u16> = (0..6).map(|i| 1000 * page + i).collect();
        encoder.write_image::<tc::Gray16>(3, 2, &data).expect("page");
    }
    let scan = Scan::read(&path).expect("stack");
    assert_eq!((scan.dims(), scan.rank(), scan.sample_type()), ([3, 2, 3], 3, SampleType::U16));
    assert_eq!(scan.voxels()[[0, 2, 1, 0]], 2003.0);
    assert_eq!(scan.slice(1).expect("slice").voxels()[[0, 0, 0, 2]], 1002.0);
    assert!(scan.slice(3).is_err());

    let mut encoder = TiffEncoder::new(File::create(&path).expect("file")).expect("encoder");
    encoder.write_image::<tc::Gray32Float>(1, 2, &[0.5, -3.25]).expect("page");
    assert_eq!(values(&Scan::read(&path).expect("float")), [0.5, -3.25]);

    let mut encoder = TiffEncoder::new(File::create(&path).expect("file")).expect("encoder");
    encoder.write_image::<tc::RGB8>(1, 1, &[1, 2, 3]).expect("page");
    assert_eq!(values(&Scan::read(&path).expect("colour")), [1.0, 2.0, 3.0]);
}

#[test]
fn a_stack_of_unequal_pages_is_refused() {
    let dir = folder();
    let path = dir.path().join("mixed.tif");
    let mut encoder = TiffEncoder::new(File::create(&path).expect("file")).expect("encoder");
    encoder.write_image::<tc::Gray8>(2, 1, &[1, 2]).expect("page");
    encoder.write_image::<tc::Gray8>(1, 1, &[1]).expect("page");
    let text = Scan::read(&path).expect_err("mixed").to_string();
    assert!(text.contains("page 1") && text.contains("mixed.tif"), "{text}");
}

#[test]
fn other_kinds_are_named_in_the_refusal() {
    let dir = folder();
    for (name, bytes, word) in [
        ("a.png", &b"\xff\xd8\xff\xe0JFIF"[..], "JPEG"),
        ("b.bin", b"what is this", "no known kind"),
        ("c.png", b"", "empty"),
        ("d.nrrd", b"NRRD0004", "NRRD"),
    ] {
        let text = Scan::read(write(dir.path(), name, bytes)).expect_err(word).to_string();
        assert!(text.contains(word) && text.contains(name), "{text}");
    }
    assert!(Scan::read(dir.path().join("none.png")).expect_err("absent").to_string().contains("none.png"));
    assert!(Scan::read(dir.path()).expect_err("folder").to_string().contains("folder"));
}

fn picture(dir: &Path) -> Scan {
    let path = dir.join("in.png");
    ImageBuffer::<Luma<u8>, _>::from_raw(3, 2, vec![9u8; 6]).expect("six").save(&path).expect("saved");
    Scan::read(path).expect("picture")
}

fn labels() -> Array3<u8> {
    Array3::from_shape_vec((1, 2, 3), vec![0, 1, 0, 1, 1, 0]).expect("six")
}

#[test]
fn labels_go_out_in_every_format_and_come_back() {
    let dir = folder();
    let scan = picture(dir.path());
    let greys = LabelGreys::spread(2);
    for name in ["o.png", "o.tif", "o.tiff", "o.nii", "o.nii.gz"] {
        let path = dir.path().join(name);
        write_labels(&path, &labels(), &scan, &greys, Overwrite::Refuse).expect(name);
        assert_eq!(imaging::read_labels(&path, &greys).expect(name), labels(), "{name}");
    }
    assert_eq!(values(&Scan::read(dir.path().join("o.png")).expect("own"))[..2], [0.0, 255.0]);
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 6, "no temporary file is left behind: {left:?}");
}

#[test]
fn what_cannot_be_written_is_found_before() {
    let dir = folder();
    let scan = picture(dir.path());
    let refused = |path: &Path, word: &str| {
        let text = check_output(path, &scan, Overwrite::Refuse).expect_err(word).to_string();
        assert!(text.contains(word), "{text}");
    };
    refused(&dir.path().join("absent/o.png"), "folder");
    refused(&dir.path().join("o.jpg"), ".nii.gz");
    refused(&dir.path().join("o"), "format");
    refused(&write(dir.path(), "there.png", b"x"), "exists");
    std::fs::create_dir(dir.path().join("d.png")).expect("folder");
    refused(&dir.path().join("d.png"), "folder");
    assert!(check_writable(&dir.path().join("there.png"), Overwrite::Replace).is_ok());
    assert!(check_output(&dir.path().join("new.png"), &scan, Overwrite::Refuse).is_ok());
    assert!(!dir.path().join("new.png").exists(), "looking leaves nothing behind");

    let own = check_output(scan.path(), &scan, Overwrite::Replace);
    assert!(own.expect_err("never over the scan").to_string().contains("scan itself"));

    let greys = LabelGreys::spread(2);
    let there = dir.path().join("there.png");
    assert!(write_labels(&there, &labels(), &scan, &greys, Overwrite::Refuse).is_err());
    assert_eq!(std::fs::read(&there).expect("file"), b"x");
    write_labels(&there, &labels(), &scan, &greys, Overwrite::Replace).expect("replaced");
    let other_grid = Array3::zeros((1, 3, 3));
    assert!(write_labels(&dir.path().join("g.png"), &other_grid, &scan, &greys, Overwrite::Refuse).is_err());
    let unknown = labels().mapv(|l| l * 2);
    let text = write_labels(&dir.path().join("u.png"), &unknown, &scan, &greys, Overwrite::Refuse);
    assert!(text.expect_err("label 2").to_string().contains("label 2"));
}

#[test]
fn grey_values_tell_labels_apart() {
    assert_eq!(LabelGreys::spread(3).label(127), Some(1));
    assert_eq!(LabelGreys::spread(2).label(3), None);
    assert!(LabelGreys::new(vec![0, 5, 0]).is_err());
}

/// A valid file of either format.
fn sample(tiff: bool) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    if tiff {
        let mut encoder = TiffEncoder::new(&mut bytes).expect("encoder");
        for _ in 0..2 {
            encoder.write_image::<tc::Gray16>(5, 4, &[77; 20]).expect("page");
        }
    } else {
        let picture = ImageBuffer::<Luma<u16>, _>::from_pixel(5, 4, Luma([77u16]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).expect("png");
    }
    bytes.into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_pictures_never_panic(
        tiff: bool, cut in 0.0f64..1.3, flips in prop::collection::vec((0.0f64..1.0, 0u8..8), 0..6),
    ) {
        let dir = folder();
        let mut bytes = sample(tiff);
        let keep = ((bytes.len() as f64 * cut) as usize).min(bytes.len());
        bytes.truncate(keep);
        for (at, bit) in flips {
            if !bytes.is_empty() {
                let at = (bytes.len() as f64 * at) as usize;
                bytes[at] ^= 1 << bit;
            }
        }
        let path = write(dir.path(), "damaged", &bytes);
        if let Err(e) = Scan::read(&path) {
            prop_assert!(e.to_string().contains("damaged"));
        }
    }
}
