//! `bunet import` as a user runs it: a classifier becomes a bundle with a report; what cannot run is refused whole.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Place, outcome};
use models::Op;

fn onnx(name: &str) -> String {
    format!("{}/../models/tests/data/{name}.onnx", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_classifier_is_imported_with_a_report() {
    let place = Place::new();
    std::fs::create_dir(place.path("scans")).unwrap();
    for scan in 0..3 {
        let grey = |x: u32, y: u32| image::Luma([(x * 17 + y * 29 * (scan + 1)) as u8]);
        let picture = image::GrayImage::from_fn(11, 13, grey);
        picture.save(place.path("scans").join(format!("{scan}.png"))).unwrap();
    }
    let import = |name: &str, report: &str| {
        let file = onnx(name);
        let args = ["import", &file, "--calibrate", "scans", "-o", "new.bunet", "--report", report];
        outcome(&place.command(&args).output().unwrap())
    };
    let (code, errors) = import("classifier_2d", "report.html");
    assert_eq!(code, Some(0), "{errors}");
    let model = models::bundle::load(&place.path("new.bunet")).unwrap();
    model.validate().unwrap();
    let nodes = model.manifest.graph.nodes();
    let score = nodes.iter().find(|node| node.name == "score").unwrap();
    assert!(matches!(score.op, Op::Conv { .. }) && score.shape.to_array() == [5, 1, 1, 1]);
    let page = std::fs::read_to_string(place.path("report.html")).unwrap();
    for node in nodes {
        assert!(page.contains(&node.name), "{}", node.name);
    }
    assert_eq!(page.matches("<svg").count(), 2);
    for outside in ["http:", "https:", "src=", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }

    let (code, errors) = import("classifier_2d", "other.html");
    assert!(code == Some(4) && errors.contains("new.bunet exists"), "{errors}");
    assert!(!place.path("other.html").exists());
    std::fs::remove_dir_all(place.path("new.bunet")).unwrap();
    let (code, errors) = import("classifier_2d", "report.txt");
    assert!(code == Some(3) && errors.contains(".html"), "{errors}");
    let (code, errors) = import("refused_more", "other.html");
    assert_eq!(code, Some(7), "{errors}");
    for layer in ["ones", "relu6", "cubic", "turned", "softmax"] {
        assert!(errors.contains(&format!("layer `{layer}`")), "{errors}");
    }
    assert!(!place.path("new.bunet").exists() && !place.path("other.html").exists());
}
