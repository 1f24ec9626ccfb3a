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
        if self.transfer.ends_with("1.2.5") || self.transfer.contains(".1.2.4.") {
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

/// Bits, predictor, stream: lossless JPEG of 5 × 4 samples as libjpeg-turbo 3 writes it (see `pattern`).
const LOSSLESS: [(u16, u16, &str); 9] = [
    (
        12,
        1,
        "ffd8ffe000104a46494600010100000100010000ffc3000b0c0004000501011100ffc40018000003010100000000000000000000\
         0000070809060cffda0008010100010000e7ff00d51d1bea105bdbb02e5d15a2244639d8a4571ca2cdbcb4bfffd9",
    ),
    (
        16,
        1,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40019000003000300000000000000000000\
         00000d0e0f0a0b10ffda0008010100010000e9024ceacd54747c3d6d2d47986286ebb612523c39c21dee7858a961243b3a90d3e2\
         ed3eb045efffd9",
    ),
    (
        16,
        2,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40019000101000301000000000000000000\
         00000f0e0b0c0d10ffda0008010100020000f10249d59ca8ef3e1d6d2c339cfa13408686ff00a3c286fcea364d6f30a910ed884e\
         aec575383babffd9",
    ),
    (
        16,
        3,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40019000101010003000000000000000000\
         00000f0d0e0a0b10ffda0008010100030000f10249d59e54767c3ada5eb4c9e4e70a7f451e8f0d565616c2d72e979c43b7197499\
         f15a58359fffd9",
    ),
    (
        16,
        4,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40017000101010100000000000000000000\
         00000e0f0d10ffda0008010100040000e9024ceacca8ee7c3d6d2d8ceb19d633ac67747858ceb19d633ac67443b319d633ac6758\
         ceff00ffd9",
    ),
    (
        16,
        5,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40018000003010100000000000000000000\
         00000d0e0f0c10ffda0008010100050000e9024ceacd54747c3d6d2e0383bbdce1634b091e13522cf8ce9f742304876735fa04a5\
         37256bf7ffd9",
    ),
    (
        16,
        6,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40018000003010100000000000000000000\
         00000d0e0f0b10ffda0008010100060000e9024ceacd54747c3d6d2ebe8780810e069ae23c2f51d535cb615c13e121d8aecb753d\
         1dd8021fffd9",
    ),
    (
        16,
        7,
        "ffd8ffe000104a46494600010100000100010000ffc3000b100004000501011100ffc40018000101010101000000000000000000\
         00000f0e0d0b10ffda0008010100070000f10249d59ca8ee7c3ada597b3cab5736ea172d1e1a38149856f88158b8876d79bbd9e6\
         3a209a4fffd9",
    ),
    (
        8,
        7,
        "ffd8ffe000104a46494600010100000100010000ffc3000b080004000501011100ffc40018000003010100000000000000000000\
         00000506070804ffda0008010100070000cfed5749ef456ea19eb53d488b8ae41e668c4e7a24afffd9",
    ),
];

/// Baseline JPEG of 19 × 11 samples, the second with restart markers, as Pillow writes it.
const LOSSY: [&str; 2] = [
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c\
         0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc0000b08000b001301011100ffc4\
         0017000003010000000000000000000000000006070809ffc4002610000103030205050000000000000000000201030600040511\
         6107081213311421425171ffda0008010100003f00634678e522cfc47b762cb8224de89d29b546bc6f8dcd65f2625749e1123de8\
         ae33cba665dc0d919be7d6a1aafbef5a11c128ae21a84b6a160ca2f6fce9b54f3cc080d8664fd380b5a17c4528571322c90e3984\
         4bb34441f1a27dfe57ffd9",
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c\
         0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc0000b08000b001301011100ffc4\
         0017000003010000000000000000000000000006070809ffc4002610000103030205050000000000000000000201030600040511\
         6107081213311421425171ffdd00040002ffda0008010100003f00634678e522cfc47b762cb8224de89d29b546bc6f8dcd65f262\
         5749e1123debffd053467974ccbb81b2337cfad4355f7deb42382515c435096d42c1945edf9d36afffd129e60406c3327e9c05ad\
         0be22942b899164871cc225d9a220f8d13eff2bfffd9",
];

fn pattern(bits: u16) -> Vec<f32> {
    let value = |x: u32, y: u32| {
        let value = x * x * 37 + y * y * 91 + x * y * 13 + 5 * x;
        let value = if bits == 16 { value * 977 } else { value };
        (value % (1 << bits)) as f32
    };
    (0..4).flat_map(|y| (0..5).map(move |x| value(x, y))).collect()
}

/// A JPEG stream in a file.
fn jpeg(process: &'static str, bits: u16, (rows, columns): (u16, u16), hex: &str) -> File {
    let digit = |n: usize| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hexadecimal");
    let mut file = File::new((0..hex.len() / 2).map(digit).collect());
    file.transfer = process;
    let allocated = if bits > 8 { 16 } else { 8 };
    (file.rows, file.columns, file.bits, file.signed) = (rows, columns, (allocated, bits, bits - 1), 0);
    file
}

const PROCESS_14: &str = "1.2.840.10008.1.2.4.57";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";

#[test]
fn lossless_jpeg_of_every_predictor() {
    for (bits, predictor, hex) in LOSSLESS {
        let scan = read(&jpeg(PROCESS_14, bits, (4, 5), hex)).expect("good");
        assert_eq!(values(&scan), pattern(bits), "{bits} bits, predictor {predictor}");
    }
    let (bits, _, hex) = LOSSLESS[0];
    let refused = |file: &File, word: &str| {
        let text = read(file).expect_err(word).to_string();
        assert!(text.contains(word) && text.contains("(7fe0,0010)"), "{text}");
    };
    refused(&jpeg(PROCESS_14, bits, (5, 4), hex), "size");
    refused(&jpeg(PROCESS_14, 8, (4, 5), hex), "more bits");
    refused(&jpeg(PROCESS_14, bits, (4, 5), &hex[..hex.len() - 20]), "ends too early");
    refused(&jpeg(PROCESS_14, bits, (4, 5), &hex.replace("ffc3", "ffc2")), "FFC2");
    refused(&jpeg(PROCESS_14, bits, (4, 5), "ffd8ffd9"), "no picture");
}

/// Bits and stream, of 11 × 13 samples as OpenJPEG 2.5 writes it: without losses, and with.
const JPEG_2000: [(u16, &str); 2] = [
    (
        16,
        "ff4fff51002900000000000d0000000b00000000000000000000000d0000000b000000000000000000010f0101ff52000c000000010\
         00204040001ff5c000a4080888890888890ff640025000143726561746564206279204f70656e4a5045472076657273696f6e20322e\
         352e34ff90000a00000000007b0001ff93dff890d008728421e5bbeab965ccf57cefe3576cbbca1444ef18f26be6bfc07f21701fc87\
         808ec250ec475bf54129a0f0cbeb18b380ad912d52551ecaa56afc01f98b4003ea1001150548e231a00611fa29c240652d84849c38c\
         0612121150547aef0300c23ee5344800a80907ffd9",
    ),
    (
        8,
        "ff4fff51002900000000000d0000000b00000000000000000000000d0000000b00000000000000000001070101ff52000c000000010\
         00204040000ff5c0011425f5250055005504757d357d35762ff640025000143726561746564206279204f70656e4a50454720766572\
         73696f6e20322e352e34ff90000a00000000002c0001ff93c7c41c08f18e50253077cf804018b2d8f2c7c02a1c18273f31019e2565f\
         dffd9",
    ),
];
const J2K_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";
const J2K: &str = "1.2.840.10008.1.2.4.91";

#[test]
fn jpeg_2000_is_what_other_decoders_make_of_it() {
    let [(bits, hex), (lossy_bits, lossy)] = JPEG_2000;
    let value = |x: u32, y: u32| (x * x * 300 + y * y * 37 + x * y * 11) as f32;
    let wanted: Vec<f32> = (0..11).flat_map(|y| (0..13).map(move |x| value(x, y))).collect();
    assert_eq!(values(&read(&jpeg(J2K_LOSSLESS, bits, (11, 13), hex)).expect("good")), wanted);
    // The same samples as signed ones lie lower by half the range.
    let mut file = jpeg(J2K_LOSSLESS, bits, (11, 13), &hex.replacen("00010f0101", "00018f0101", 1));
    file.signed = 1;
    let lower: Vec<f32> = wanted.iter().map(|value| value - 32_768.0).collect();
    assert_eq!(values(&read(&file).expect("good")), lower);
    // OpenJPEG's own values.
    let found = values(&read(&jpeg(J2K, lossy_bits, (11, 13), lossy)).expect("good"));
    let weighted: f32 = found.iter().enumerate().map(|(n, v)| v * (1 + n % 7) as f32).sum();
    assert_eq!(&found[..4], [2.0, 5.0, 17.0, 41.0]);
    assert_eq!((found.iter().sum::<f32>(), weighted), (14348.0, 56595.0));

    let refused = |file: &File, word: &str| {
        let text = read(file).expect_err(word).to_string();
        assert!(text.contains(word) && text.contains("(7fe0,0010)"), "{text}");
    };
    refused(&jpeg(J2K, bits, (13, 11), hex), "size");
    refused(&jpeg(J2K, 8, (11, 13), hex), "more bits");
    refused(&jpeg(J2K, bits, (11, 13), &hex[..hex.len() - 20]), "ends too early");
    refused(&jpeg(J2K, bits, (11, 13), &hex[..60]), "ends too early");
    refused(&jpeg(J2K, bits, (11, 13), &hex.replacen("00010f0101", "00030f0101", 1)), "colour");
    refused(&jpeg(J2K, bits, (11, 13), &hex.replacen("00010f0101", "0001130101", 1)), "more than 16 bits");
    refused(&jpeg(J2K, bits, (11, 13), "ffd8ffd9"), "no JPEG 2000");
}

#[test]
fn baseline_jpeg_is_what_other_decoders_make_of_it() {
    for hex in LOSSY {
        let found = values(&read(&jpeg(BASELINE, 8, (11, 19), hex)).expect("good"));
        let near = |found: &[f32], wanted: [f32; 4]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1.0), "{found:?}");
        };
        near(&found[..4], [176.0, 197.0, 212.0, 223.0]);
        near(&found[found.len() - 4..], [104.0, 103.0, 112.0, 125.0]);
        let weighted = found.iter().enumerate().map(|(n, v)| v * (1 + n % 7) as f32).sum::<f32>();
        assert!((found.iter().sum::<f32>() - 25_800.0).abs() < 40.0, "{found:?}");
        assert!((weighted - 102_947.0).abs() < 160.0, "{weighted}");
    }
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
    // The table of contents of a medium looks like DICOM, and is no image.
    write(dir.path(), "DICOMDIR", &[&[0; 128][..], b"DICM"].concat());
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
    refused(&with(&|f| f.transfer = "1.2.840.10008.1.2.4.80"), "decompress");
}

#[test]
fn public_files_in_many_transfer_syntaxes() {
    let Some(folder) = shared("dicom/pydicom") else { return };
    let sum =
        |name: &str| Scan::read(folder.join(name)).map(|s| s.voxels().iter().map(|v| f64::from(*v)).sum());
    for name in ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_padded"] {
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
    // Twelve bits, with losses: libjpeg's sum, but for rounding.
    let lossy = sum("JPEG-lossy.dcm").expect("12 bits");
    assert!((lossy - 3_767_007.0f64).abs() < 1000.0, "{lossy}");
    for (name, word) in [
        ("MR_truncated.dcm", "(7fe0,0010)"),
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
        kind in 0usize..5, cut in 0.0f64..1.3, flips in prop::collection::vec((0.0f64..1.0, 0u8..8), 0..6),
    ) {
        let mut file = File::new(words([1; 6]));
        match kind {
            1 => {
                file.transfer = "1.2.840.10008.1.2.5";
                file.pixels = [vec![2, 0, 0, 0, 64, 0, 0, 0, 66], vec![0; 55], vec![251, 0, 251, 3]].concat();
            }
            2 => file = jpeg(PROCESS_14, 16, (4, 5), LOSSLESS[4].2),
            3 => file = jpeg(BASELINE, 8, (11, 19), LOSSY[1]),
            4 => file = jpeg(J2K, 16, (11, 13), JPEG_2000[0].1),
            _ => {}
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
