//! Files and folders through encryption and back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use imaging::{Geometry, Overwrite, SampleType, Scan};
use ndarray::Array4;
use perceptual::error::PerceptualError;
use perceptual::keys::{MasterKey, Scope};
use perceptual::pixel::{
    EncryptOptions, MapOptions, Steps, decrypt_file, decrypt_folder, encrypt_file, encrypt_folder,
};
use perceptual::write::write_scan;
use std::path::Path;

fn options() -> EncryptOptions {
    let map = MapOptions::default();
    EncryptOptions { map, steps: Steps { shuffle: true }, scope: Scope::PerImage, overwrite: false }
}

fn image(channels: usize, depth: usize, low: i32, span: i32) -> Array4<f32> {
    Array4::from_shape_fn((channels, depth, 12, 17), |(c, z, y, x)| {
        (low + ((c * 7919 + z * 104_729 + y * 1_299_709 + x * 15_485_863) as i32).rem_euclid(span)) as f32
    })
}

fn placed() -> Geometry {
    let mut geometry = Geometry::unknown();
    geometry.spacing = [0.5, 0.75, 2.0];
    geometry.affine =
        [[0.5, 0.0, 0.0, -3.0], [0.0, 0.75, 0.0, 4.0], [0.0, 0.0, 2.0, 5.5], [0.0, 0.0, 0.0, 1.0]];
    geometry.known = true;
    geometry
}

fn write(path: &Path, values: &Array4<f32>, kind: SampleType) {
    write_scan(path, values, kind, &placed(), Overwrite::Refuse).unwrap();
}

#[test]
fn every_format_comes_back_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let key = MasterKey::generate();
    let cases = [
        ("grey8.png", image(1, 1, 0, 256), SampleType::U8),
        ("grey16.png", image(1, 1, 0, 65_536), SampleType::U16),
        ("colour8.png", image(3, 1, 0, 256), SampleType::U8),
        ("colour16.tif", image(3, 1, 0, 65_536), SampleType::U16),
        ("stack.tif", image(1, 3, 0, 65_536), SampleType::U16),
        ("signed.nii.gz", image(1, 4, -1024, 4096), SampleType::I16),
        ("bytes.nii", image(1, 4, -128, 256), SampleType::I8),
        ("float.nii.gz", image(1, 4, 0, 3000), SampleType::F32),
    ];
    for (name, values, kind) in cases {
        let [plain, secret, back] =
            ["plain", "secret", "back"].map(|stage| folder.path().join(stage).join(name));
        [&plain, &secret, &back].iter().for_each(|path| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        });
        write(&plain, &values, kind);
        encrypt_file(&plain, &secret, name, &key, &options()).unwrap();
        decrypt_file(&secret, &back, &key, false).unwrap();
        let (read, hidden) = (Scan::read(&back).unwrap(), Scan::read(&secret).unwrap());
        assert_eq!(read.voxels(), values, "{name}");
        assert_eq!(read.sample_type(), kind, "{name}");
        assert_ne!(hidden.voxels(), values, "{name}");
        if name.contains(".nii") {
            assert_eq!(read.geometry().affine, placed().affine, "{name}");
            assert_eq!(hidden.geometry().affine, placed().affine, "{name}");
        }
    }
}

#[test]
fn folders_keep_their_tree_and_images_have_their_own_keys() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, secret, back] = ["plain", "secret", "back"].map(|stage| folder.path().join(stage));
    std::fs::create_dir_all(plain.join("class1")).unwrap();
    let same = image(1, 1, 0, 256);
    write(&plain.join("a.png"), &same, SampleType::U8);
    write(&plain.join("class1/b.png"), &same, SampleType::U8);
    let key = MasterKey::generate();
    assert_eq!(encrypt_folder(&plain, &secret, &key, &options()).unwrap(), 2);
    let read = |path: &Path| Scan::read(path).unwrap().voxels().to_owned();
    assert_ne!(read(&secret.join("a.png")), read(&secret.join("class1/b.png")));
    assert_eq!(decrypt_folder(&secret, &back, &key, false).unwrap(), 2);
    assert_eq!(read(&back.join("class1/b.png")), same);
    let error = encrypt_folder(&plain, &secret, &key, &options()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    assert!(encrypt_folder(&plain, &plain.join("inside"), &key, &options()).is_err());
}

#[test]
fn wrong_keys_and_missing_sidecars_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, secret, back] = ["p.png", "s.png", "b.png"].map(|name| folder.path().join(name));
    write(&plain, &image(1, 1, 0, 256), SampleType::U8);
    encrypt_file(&plain, &secret, "p", &MasterKey::generate(), &options()).unwrap();
    let error = decrypt_file(&secret, &back, &MasterKey::generate(), false).unwrap_err();
    assert!(matches!(error, PerceptualError::WrongKey { .. }), "{error}");
    let error = decrypt_file(&plain, &back, &MasterKey::generate(), false).unwrap_err();
    assert!(error.to_string().contains("sidecar"), "{error}");
}
