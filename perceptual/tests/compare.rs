//! The comparison of backends on one scan, its table, JSON and picture.

use models::graph::Shape;
use models::quantise::QuantiseOptions;
use models::reference;
use models::unet::{Pooling, UNet, activations, random_image};
use perceptual::compare::{Contender, compare};
use perceptual::keys::{MasterKey, Scope};
use perceptual::morph::{Blocks, Morph};
use perceptual::pixel::{Pixel, Steps};

#[test]
fn every_backend_has_its_costs_and_its_leaks() {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 16, 16] },
        channels: vec![4, 6],
        pooling: Pooling::Avg,
        activations: activations("relu", 2).unwrap(),
        labels: 3,
        seed: 7,
    };
    let model = unet.build_quantised(&QuantiseOptions::default()).unwrap().0;
    let input = model.manifest.quantise_input(&random_image(unet.input, 3));
    let truth = reference::run(&model, &input).unwrap().mapv(|label| label as u8);
    let morph = Morph { master: MasterKey::generate(), kappa: 16, blocks: Blocks::Repeated };
    let (key, identity) = (MasterKey::generate(), "scan".to_owned());
    let pixel = Pixel { key, scope: Scope::PerImage, identity, steps: Steps { shuffle: false } };
    let opaque = Contender::opaque(Box::new(models::clear::Clear), Some("how to read it"));
    let mut contenders = [Contender::clear(), opaque, Contender::morph(morph), Contender::pixel(pixel)];
    let comparison = compare(&model, &input, Some(&truth), &mut contenders).unwrap();

    let [clear, opaque, morph, pixel] = &comparison.rows[..] else { unreachable!("four contenders") };
    assert_eq!((clear.different, opaque.different, morph.different), (0, 0, 0));
    assert!(pixel.different > 0, "the network was not trained on encrypted images");
    assert!(opaque.leaks.is_empty());
    let ssim = |row: &perceptual::compare::Row, attack: &str| {
        row.leaks.iter().find(|leak| leak.attack == attack).and_then(|leak| leak.ssim).unwrap()
    };
    assert!((ssim(clear, "as received") - 1.0).abs() < 1e-9);
    assert!(ssim(morph, "as received") < 0.3 && ssim(pixel, "as received") < 0.3);
    assert!(ssim(morph, "known images") > 0.999 && ssim(morph, "reversing") > 0.999);
    assert!(ssim(pixel, "folding") > ssim(pixel, "as received"));
    assert_eq!(morph.scores.as_ref().unwrap()[1].dice, Some(1.0));

    assert!(comparison.trivial.as_ref().unwrap()[1].dice < Some(1.0));

    let table = comparison.table();
    assert!(table.contains("the first layer's weights") && table.contains("no image reaches"), "{table}");
    assert!(table.contains("clear: how to read it"), "{table}");
    let json = comparison.to_json();
    assert_eq!(json["rows"][2]["backend"], "morph");
    assert_eq!(json["rows"][2]["mean_dice"], 1.0);
    assert!(json["trivial"][1]["dice"].as_f64() < Some(1.0));
    assert!(json["trivial_leak"]["ssim"].as_f64() < Some(0.5));
    assert!(comparison.trivial_leak.mse < morph.leaks[0].mse, "noise is farther off than one grey");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compare.png");
    comparison.write_picture(&path, false).unwrap();
    let picture = imaging::Scan::read(&path).unwrap();
    assert!(picture.voxels().iter().any(|&v| v == 255.0));
    assert!(comparison.write_picture(&path, false).is_err(), "nothing is replaced unasked");
}
