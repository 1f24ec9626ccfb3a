//! DICOM files and series.
#![expect(clippy::expect_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{shared, write};
use imaging::{SampleType, Scan};
use proptest::prelude::*;

/// A small image in explicit little-endian order.
#[derive(Clone)]
struct File {
    transfer: &'static str,
    series: &'static str,
    rows: u16,
    columns: u16,
    position: Option<String>,
    orientation: &'static str,
    spacing: &'static str,
    bits: (u16, u16, u16),
    signed: u16,
    rescale: Option<(&'static str, &'static str)>,
    extra: Vec<u8>,
    pixels: Vec<u8>,
}

impl File {
    fn new(pixels: Vec<u8>) -> Self {
        Self {
            transfer: "1.2.840.10008.1.2.1",
            series: "1.2.3",
            rows: 2,
            columns: 3,
            position: Some("10\\20\\30".into()),
            orientation: "1\\0\\0\\0\\1\\0",
            spacing: "0.5\\0.25",
            bits: (16, 12, 11),
            signed: 1,
            rescale: None,
            extra: Vec::new(),
            pixels,
        }
    }

    fn at(mut self, z: f64) -> Self {
        self.position = Some(format!("10\\20\\{z}"));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut b = vec![0; 128];
        b.extend(b"DICM");
        b.extend(text((2, 0x10), b"UI", self.transfer));
        b.extend(text((0x20, 0x0e), b"UI", self.series));
        if let Some(position) = &self.position {
            b.extend(text((0x20, 0x32), b"DS", position));
            b.extend(text((0x20, 0x37), b"DS", self.orientation));
        }
        b.extend(&self.extra);
        b.extend(short((0x28, 2), 1));
        b.extend(text((0x28, 4), b"CS", "MONOCHROME2"));
        b.extend(short((0x28, 0x10), self.rows));
        b.extend(short((0x28, 0x11), self.columns));
        b.extend(text((0x28, 0x30), b"DS", self.spacing));
        b.extend(short((0x28, 0x100), self.bits.0));
        b.extend(short((0x28, 0x101), self.bits.1));
        b.extend(short((0x28, 0x102), self.bits.2));
        b.extend(short((0x28, 0x103), self.signed));
        if let Some((slope, intercept)) = self.rescale {
            b.extend(text((0x28, 0x1052), b"DS", intercept));
            b.extend(text((0x28, 0x1053), b"DS", slope));
        }
        if self.transfer.ends_with("1.2.5") {
            b.extend(long((0x7fe0, 0x10), b"OB", u32::MAX));
            b.extend(item(&[]));
            b.extend(item(&self.pixels));
            b.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
        } else {
            b.extend(long((0x7fe0, 0x10), b"OW", self.pixels.len() as u32));
            b.extend(&self.pixels);
        }
        b
    }
}

fn tag((group, element): (u16, u16)) -> Vec<u8> {
    [group.to_le_bytes(), element.to_le_bytes()].concat()
}

fn text(at: (u16, u16), kind: &[u8; 2], value: &str) -> Vec<u8> {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if kind == b"UI" { 0 } else { b' ' });
    }
    [tag(at), kind.to_vec(), (value.len() as u16).to_le_bytes().to_vec(), value].concat()
}

fn short(at: (u16, u16), value: u16) -> Vec<u8> {
    [tag(at), b"US".to_vec(), vec![2, 0], value.to_le_bytes().to_vec()].concat()
}

fn long(at: (u16, u16), kind: &[u8; 2], length: u32) -> Vec<u8> {
    [tag(at), kind.to_vec(), vec![0, 0], length.to_le_bytes().to_vec()].concat()
}

fn item(value: &[u8]) -> Vec<u8> {
    [vec![0xfe, 0xff, 0, 0xe0], (value.len() as u32).to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn words(values: [i16; 6]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn values(scan: &Scan) -> Vec<f32> {
    scan.voxels().iter().copied().collect()
}

fn read(file: &File) -> imaging::Result<Scan> {
    let dir = tempfile::tempdir().expect("folder");
    Scan::read(write(dir.path(), "image.dcm", &file.bytes()))
}

#[test]
fn stored_bits_sign_and_rescale() {
    // 12 stored bits, the others foreign: 0x1801 is −2047, 0xF7FF is 2047.
    let mut file = File::new(words([1, -1, 0x1801, 0xF7FFu16 as i16, 5, 6]));
    let scan = read(&file).expect("good");
    assert_eq!(values(&scan), [1.0, -1.0, -2047.0, 2047.0, 5.0, 6.0]);
    assert_eq!((scan.dims(), scan.sample_type()), ([1, 2, 3], SampleType::I16));
    file.rescale = Some(("2", "-1024"));
    assert_eq!(values(&read(&file).expect("good"))[..2], [-1022.0, -1026.0]);
    file.signed = 0;
    assert_eq!(values(&read(&file).expect("good"))[1], 4095.0 * 2.0 - 1024.0);
    file.bits = (16, 8, 15);
    assert_eq!(values(&read(&file).expect("good"))[1], 255.0 * 2.0 - 1024.0);
}

#[test]
fn run_lengths() {
    let mut file = File::new(Vec::new());
    file.transfer = "1.2.840.10008.1.2.5";
    // High bytes: six times 0; low bytes: 1, 2, 3 as they are, then 7 three times. 128 does nothing.
    let high = [(257 - 6) as u8, 0];
    let low = [2, 1, 2, 3, 128, (257 - 3) as u8, 7];
    let mut frame = vec![0u8; 64];
    frame[0] = 2;
    frame[4] = 64;
    frame[8] = 66;
    frame.extend(high.iter().chain(&low));
    file.pixels = frame.clone();
    assert_eq!(values(&read(&file).expect("good")), [1.0, 2.0, 3.0, 7.0, 7.0, 7.0]);
    file.pixels = frame[..frame.len() - 1].to_vec();
    assert!(read(&file).expect_err("short").to_string().contains("ends too early"));
    frame[0] = 3;
    file.pixels = frame;
    assert!(read(&file).expect_err("segments").to_string().contains("segments"));
}

#[test]
fn sequences_are_stepped_over() {
    let mut file = File::new(words([1; 6]));
    let inner = text((0x28, 0x10), b"CS", "not rows");
    let mut nested = long((8, 0x1140), b"SQ", u32::MAX);
    nested.extend([0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    nested.extend(&inner);
    nested.extend([0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0]);
    nested.extend(item(&inner));
    nested.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    let mut defined = long((8, 0x1111), b"SQ", item(&inner).len() as u32);
    defined.extend(item(&inner));
    file.extra = [nested, defined].concat();
    assert_eq!(values(&read(&file).expect("good")), [1.0; 6]);
    // Deeper than any real file.
    let open =
        [long((8, 0x1140), b"SQ", u32::MAX), vec![0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff]].concat();
    file.extra = open.repeat(100_000);
    assert!(read(&file).expect_err("deep").to_string().contains("nested"));
}

fn series(dir: &Path, depths: &[f64]) {
    for (n, z) in depths.iter().enumerate() {
        // Names run against the positions.
        let name = format!("{:03}.dcm", 100 - n);
        write(dir, &name, &File::new(words([*z as i16; 6])).at(*z).bytes());
    }
}

#[test]
fn a_series_is_sorted_by_position_and_placed() {
    let dir = tempfile::tempdir().expect("folder");
    series(dir.path(), &[-4.0, 1.0, -1.5]);
    write(dir.path(), "README.txt", b"not DICOM");
    let scan = Scan::read(dir.path()).expect("series");
    assert_eq!((scan.dims(), scan.rank()), ([3, 2, 3], 3));
    assert_eq!(values(&scan).chunks(6).map(|p| p[0]).collect::<Vec<_>>(), [-4.0, -1.0, 1.0]);
    assert_eq!(scan.geometry().spacing, [0.25, 0.5, 2.5]);
    let wanted =
        [[-0.25, 0.0, 0.0, -10.0], [0.0, -0.5, 0.0, -20.0], [0.0, 0.0, 2.5, -4.0], [0.0, 0.0, 0.0, 1.0]];
    assert_eq!(scan.geometry().affine, wanted);
    let labels = ndarray::Array3::from_elem((3, 2, 3), 1);
    let out = dir.path().join("seg.nii.gz");
    let greys = imaging::LabelGreys::identity();
    imaging::write_labels(&out, &labels, &scan, &greys, imaging::Overwrite::Refuse).expect("written");
    assert_eq!(Scan::read(out).expect("own file").geometry(), scan.geometry());
}

#[test]
fn series_that_make_no_volume_are_refused() {
    let refused = |change: &dyn Fn(&Path), word: &str| {
        let dir = tempfile::tempdir().expect("folder");
        change(dir.path());
        let text = Scan::read(dir.path()).expect_err(word).to_string();
        assert!(text.contains(word), "{word} in {text}");
    };
    refused(&|_| (), "no DICOM files");
    refused(&|dir| series(dir, &[0.0, 1.0, 3.0]), "missing or double");
    refused(&|dir| series(dir, &[0.0, 1.0, 1.0]), "missing or double");
    let other = |change: &dyn Fn(&mut File)| {
        let mut file = File::new(words([1; 6])).at(2.0);
        change(&mut file);
        file.bytes()
    };
    let with = |change: &'static dyn Fn(&mut File)| {
        move |dir: &Path| {
            series(dir, &[0.0, 1.0]);
            write(dir, "other.dcm", &other(change));
        }
    };
    refused(&with(&|f| f.series = "9.9"), "2 series");
    refused(&with(&|f| (f.rows, f.columns) = (3, 2)), "Rows");
    refused(&with(&|f| f.position = None), "where it lies");
    refused(&with(&|f| f.orientation = "0\\1\\0\\1\\0\\0"), "differs");
    refused(&with(&|f| f.orientation = "1\\0\\0\\1\\0\\0"), "(0020,0037)");
    refused(&with(&|f| f.spacing = "0.5\\0"), "(0028,0030)");
    refused(&with(&|f| f.spacing = "0.5\\what"), "(0028,0030)");
    refused(&with(&|f| f.pixels.truncate(11)), "12 bytes needed");
    refused(&with(&|f| f.bits = (16, 12, 3)), "(0028,0101)");
    refused(&with(&|f| f.transfer = "1.2.840.10008.1.2.4.70"), "decompress");
}

#[test]
fn public_files_in_many_transfer_syntaxes() {
    let Some(folder) = shared("dicom/pydicom") else { return };
    let sum =
        |name: &str| Scan::read(folder.join(name)).map(|s| s.voxels().iter().map(|v| f64::from(*v)).sum());
    for name in ["", "_RLE", "_bigendian", "_expb", "_implicit", "_padded"] {
        let name = format!("MR_small{name}.dcm");
        assert_eq!(sum(&name).map_err(|e| e.to_string()), Ok(2_125_338.0), "{name}");
    }
    // Sums as pydicom gives them, with slope and intercept.
    for (name, wanted) in [
        ("CT_small.dcm", -1_950_906.0),
        ("image_dfl.dcm", 33_322_688.0),
        ("SC_rgb_small_odd.dcm", 3_477.0),
        ("ExplVR_BigEnd.dcm", 2_470_716.0),
    ] {
        assert_eq!(sum(name).map_err(|e| e.to_string()), Ok(wanted), "{name}");
    }
    for (name, word) in [
        ("MR_truncated.dcm", "(7fe0,0010)"),
        ("MR_small_jp2klossless.dcm", "decompress"),
        ("JPEG-lossy.dcm", "decompress"),
        ("MR_small_jpeg_ls_lossless.dcm", "decompress"),
        ("liver_1frame.dcm", "(0028,0100)"),
        ("rtdose.dcm", "frames"),
        ("no_meta.dcm", "no known kind"),
    ] {
        let text = sum(name).expect_err(name).to_string();
        assert!(text.contains(word) && text.contains(name), "{text}");
    }
}

#[test]
fn a_public_series_is_one_volume() {
    let Some(series) = shared("dicom/hippocampus_series") else { return };
    let scan = Scan::read(series).expect("series");
    assert_eq!(scan.dims(), [32, 51, 35]);
    assert_eq!(scan.geometry().spacing, [1.0; 3]);
    // File n.dcm lies at z = n; figures by another reader.
    let sums: Vec<f64> =
        scan.voxels().axis_iter(ndarray::Axis(1)).map(|s| s.iter().map(|v| f64::from(*v)).sum()).collect();
    assert_eq!((sums[0], sums[1], sums[31]), (83_176.0, 85_698.0, 112_898.0));
    assert_eq!((sums.iter().sum::<f64>(), scan.voxels()[[0, 5, 7, 9]]), (3_346_681.0, 24.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(
        rle: bool, cut in 0.0f64..1.3, flips in prop::collection::vec((0.0f64..1.0, 0u8..8), 0..6),
    ) {
        let mut file = File::new(words([1; 6]));
        if rle {
            file.transfer = "1.2.840.10008.1.2.5";
            file.pixels = [vec![2, 0, 0, 0, 64, 0, 0, 0, 66], vec![0; 55], vec![251, 0, 251, 3]].concat();
        }
        let mut bytes = file.bytes();
        let keep = ((bytes.len() as f64 * cut) as usize).clamp(132, bytes.len());
        bytes.truncate(keep);
        for (at, bit) in flips {
            let at = 132 + ((bytes.len() - 132) as f64 * at) as usize;
            if at < bytes.len() {
                bytes[at] ^= 1 << bit;
            }
        }
        let dir = tempfile::tempdir().expect("folder");
        if let Err(e) = Scan::read(write(dir.path(), "damaged.dcm", &bytes)) {
            prop_assert!(e.to_string().contains("damaged.dcm"));
        }
    }
}
