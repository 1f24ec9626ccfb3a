//! Files made byte by byte, so that no writer under test has a part in what a reader is tested on.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::io::Write;
use std::path::{Path, PathBuf};

use imaging::{Axes, Colour, Geometry, Intensity, Preprocessing, Scan, Size};
use ndarray::Array4;

/// A NIfTI file to be.
#[derive(Clone)]
pub(crate) struct Nifti {
    pub(crate) version: u8,
    pub(crate) big: bool,
    pub(crate) single: bool,
    pub(crate) dim: [i64; 8],
    pub(crate) datatype: i16,
    pub(crate) slope: f64,
    pub(crate) inter: f64,
    pub(crate) pixdim: [f64; 8],
    pub(crate) qform_code: i32,
    pub(crate) quatern: [f64; 6],
    pub(crate) sform_code: i32,
    pub(crate) srow: [[f64; 4]; 3],
    pub(crate) descrip: &'static [u8],
    pub(crate) data: Vec<u8>,
}

impl Nifti {
    pub(crate) fn new(dim: &[i64], datatype: i16, data: Vec<u8>) -> Self {
        let mut full = [1; 8];
        full[0] = dim.len() as i64;
        full[1..=dim.len()].copy_from_slice(dim);
        Self {
            version: 1,
            big: false,
            single: true,
            dim: full,
            datatype,
            slope: 1.0,
            inter: 0.0,
            pixdim: [1.0, 0.5, 0.75, 2.0, 1.0, 1.0, 1.0, 1.0],
            qform_code: 0,
            quatern: [0.0; 6],
            sform_code: 1,
            srow: [[-0.5, 0.0, 0.0, 90.0], [0.0, 0.75, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0]],
            descrip: b"",
            data,
        }
    }

    fn put(&self, bytes: &mut [u8], at: usize, little: &[u8]) {
        let target = &mut bytes[at..at + little.len()];
        target.copy_from_slice(little);
        if self.big {
            target.reverse();
        }
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        if self.version == 1 { self.header_1() } else { self.header_2() }
    }

    fn header_1(&self) -> Vec<u8> {
        let mut b = vec![0u8; 348];
        let f = |v: f64| (v as f32).to_le_bytes();
        self.put(&mut b, 0, &348i32.to_le_bytes());
        for i in 0..8 {
            self.put(&mut b, 40 + 2 * i, &(self.dim[i] as i16).to_le_bytes());
            self.put(&mut b, 76 + 4 * i, &f(self.pixdim[i]));
        }
        self.put(&mut b, 70, &self.datatype.to_le_bytes());
        self.put(&mut b, 72, &(8 * size_of_type(self.datatype) as i16).to_le_bytes());
        self.put(&mut b, 108, &f(if self.single { 352.0 } else { 0.0 }));
        self.put(&mut b, 112, &f(self.slope));
        self.put(&mut b, 116, &f(self.inter));
        b[123] = 10;
        b[148..148 + self.descrip.len()].copy_from_slice(self.descrip);
        self.put(&mut b, 252, &(self.qform_code as i16).to_le_bytes());
        self.put(&mut b, 254, &(self.sform_code as i16).to_le_bytes());
        for (i, v) in self.quatern.iter().enumerate() {
            self.put(&mut b, 256 + 4 * i, &f(*v));
        }
        for (i, v) in self.srow.iter().flatten().enumerate() {
            self.put(&mut b, 280 + 4 * i, &f(*v));
        }
        b[344..348].copy_from_slice(if self.single { b"n+1\0" } else { b"ni1\0" });
        b
    }

    fn header_2(&self) -> Vec<u8> {
        let mut b = vec![0u8; 540];
        self.put(&mut b, 0, &540i32.to_le_bytes());
        b[4..12].copy_from_slice(if self.single { b"n+2\0\r\n\x1a\n" } else { b"ni2\0\r\n\x1a\n" });
        self.put(&mut b, 12, &self.datatype.to_le_bytes());
        self.put(&mut b, 14, &(8 * size_of_type(self.datatype) as i16).to_le_bytes());
        for i in 0..8 {
            self.put(&mut b, 16 + 8 * i, &self.dim[i].to_le_bytes());
            self.put(&mut b, 104 + 8 * i, &self.pixdim[i].to_le_bytes());
        }
        self.put(&mut b, 168, &(if self.single { 544i64 } else { 0 }).to_le_bytes());
        self.put(&mut b, 176, &self.slope.to_le_bytes());
        self.put(&mut b, 184, &self.inter.to_le_bytes());
        b[240..240 + self.descrip.len()].copy_from_slice(self.descrip);
        self.put(&mut b, 344, &self.qform_code.to_le_bytes());
        self.put(&mut b, 348, &self.sform_code.to_le_bytes());
        for (i, v) in self.quatern.iter().enumerate() {
            self.put(&mut b, 352 + 8 * i, &v.to_le_bytes());
        }
        for (i, v) in self.srow.iter().flatten().enumerate() {
            self.put(&mut b, 400 + 8 * i, &v.to_le_bytes());
        }
        self.put(&mut b, 500, &10i32.to_le_bytes());
        b
    }

    /// The single file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.extend([0; 4]);
        bytes.extend(&self.data);
        bytes
    }
}

pub(crate) fn size_of_type(datatype: i16) -> usize {
    match datatype {
        2 | 256 => 1,
        4 | 512 => 2,
        128 => 3,
        8 | 16 | 768 | 2304 => 4,
        64 | 1024 | 1280 => 8,
        other => unreachable!("datatype {other}"),
    }
}

/// Values as bytes of a NIfTI datatype in either order.
pub(crate) fn encode(values: &[f64], datatype: i16, big: bool) -> Vec<u8> {
    let one = |v: f64| -> Vec<u8> {
        match datatype {
            2 => (v as u8).to_le_bytes().to_vec(),
            256 => (v as i8).to_le_bytes().to_vec(),
            4 => (v as i16).to_le_bytes().to_vec(),
            512 => (v as u16).to_le_bytes().to_vec(),
            8 => (v as i32).to_le_bytes().to_vec(),
            768 => (v as u32).to_le_bytes().to_vec(),
            1024 => (v as i64).to_le_bytes().to_vec(),
            1280 => (v as u64).to_le_bytes().to_vec(),
            16 => (v as f32).to_le_bytes().to_vec(),
            64 => v.to_le_bytes().to_vec(),
            other => unreachable!("datatype {other}"),
        }
    };
    let turn = |mut b: Vec<u8>| {
        if big {
            b.reverse();
        }
        b
    };
    values.iter().flat_map(|v| turn(one(*v))).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a temporary folder takes files");
    path
}

/// A file of the shared data folder; says so and returns `None` where that is not present.
pub(crate) fn shared(relative: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("BUNET_SHARED").map_or(beside, PathBuf::from);
    let path = root.join("data").join(relative);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is absent (set BUNET_SHARED to the folder that holds data/)", path.display());
    None
}

/// Preprocessing that leaves a scan as it is but for its size.
pub(crate) fn plain(size: Size) -> Preprocessing {
    Preprocessing {
        colour: Colour::Grey,
        orientation: None,
        spacing: None,
        intensity: Intensity::AsStored,
        size,
        axes: Axes::Zyx,
    }
}

/// A scan whose voxels tell their place: 1 + x + 10·y + 100·z.
pub(crate) fn scan_of(d: usize, h: usize, w: usize) -> Scan {
    let voxels = Array4::from_shape_fn((1, d, h, w), |(_, z, y, x)| (100 * z + 10 * y + x + 1) as f32);
    Scan::from_voxels("scan.nii", voxels, Geometry { known: true, ..Geometry::unknown() })
}
