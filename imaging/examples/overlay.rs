//! Draws result and reference over a scan: `overlay SCAN RESULT REFERENCE OUT.png NAME...`, one name per label;
//! a name that ends in `!` is drawn, the others only scored.

use std::error::Error;

use imaging::{LabelGreys, LabelStyle, Overlay, Overwrite, Scan, read_labels};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [scan, result, reference, out, names @ ..] = words.as_slice() else {
        return Err("usage: overlay SCAN RESULT REFERENCE OUT.png NAME...".into());
    };
    let greys = LabelGreys::spread(u8::try_from(names.len())?);
    let mut labels = LabelStyle::named(names);
    for style in &mut labels {
        style.drawn = style.name.ends_with('!');
        style.name = style.name.trim_end_matches('!').to_owned();
    }
    let overlay = Overlay {
        title: "Overlay",
        subtitle: scan,
        result_name: "Result",
        scan: &Scan::read(scan)?,
        result: &read_labels(result, &greys)?,
        reference: Some(&read_labels(reference, &greys)?),
        labels: &labels,
    };
    overlay.write(out.as_ref(), Overwrite::Replace)?;
    Ok(())
}
