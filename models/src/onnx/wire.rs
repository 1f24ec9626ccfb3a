//! A first look at a protobuf file: how many messages it holds, before any is decoded.
//!
//! A decoded message takes many times the two bytes that an empty one takes in a file, so that a small hostile file
//! could fill the memory. Walks the messages that the schema nests, without allocating, and refuses too many.

/// Most messages and strings in all.
const MAX_PARTS: usize = 1 << 20;

/// The nested fields of a kind of message: (field number, kind inside).
const NESTED: [&[(u64, usize)]; 7] = [
    &[(7, GRAPH), (8, LEAF)],
    &[(1, NODE), (5, TENSOR), (11, VALUE), (12, VALUE)],
    &[(1, LEAF), (2, LEAF), (5, ATTRIBUTE)],
    &[(5, TENSOR)],
    &[(13, LEAF)],
    // A type holds a tensor type, which holds a shape, which holds dimensions: all in field 1 or 2.
    &[(1, VALUE), (2, VALUE)],
    &[],
];
const MODEL: usize = 0;
const GRAPH: usize = 1;
const NODE: usize = 2;
const ATTRIBUTE: usize = 3;
const TENSOR: usize = 4;
const VALUE: usize = 5;
const LEAF: usize = 6;

/// Deepest nesting that is walked; the schema's own is six.
const MAX_DEPTH: usize = 8;

/// Whether `bytes` are a well-formed model file with a sensible number of messages.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut parts = 0;
    walk(bytes, MODEL, 0, &mut parts)
}

fn walk(mut bytes: &[u8], kind: usize, depth: usize, parts: &mut usize) -> Result<(), String> {
    let truncated = || String::from("it is no ONNX model, or truncated");
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(truncated)?;
        let skipped = match tag & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            5 => Some(4),
            2 => varint(&mut bytes).and_then(|length| usize::try_from(length).ok()),
            _ => None,
        };
        let skipped = skipped.filter(|&skipped| skipped <= bytes.len()).ok_or_else(truncated)?;
        let (content, rest) = bytes.split_at(skipped);
        bytes = rest;
        let inside = NESTED[kind].iter().find(|(field, _)| *field == tag >> 3 && tag & 7 == 2);
        let Some(&(_, inside)) = inside else { continue };
        *parts += 1;
        if *parts > MAX_PARTS {
            return Err(format!("it holds more than {MAX_PARTS} messages"));
        }
        // A value's name shares its field number with nested messages, and need not parse.
        if inside == VALUE && kind == VALUE {
            if depth < MAX_DEPTH {
                let before = *parts;
                if walk(content, inside, depth + 1, parts).is_err() && *parts > MAX_PARTS {
                    return Err(format!("it holds more than {MAX_PARTS} messages"));
                }
                *parts = before.max(*parts);
            }
        } else if inside != LEAF {
            walk(content, inside, depth + 1, parts)?;
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 127) << (7 * index).min(63);
        if byte < 128 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_messages_are_refused_before_decoding() {
        let empty_nodes = [0x0a, 0x00].repeat(MAX_PARTS + 1);
        let mut model = vec![0x3a];
        let mut length = empty_nodes.len();
        while length >= 128 {
            model.push(length as u8 | 128);
            length >>= 7;
        }
        model.push(length as u8);
        model.extend(&empty_nodes);
        assert!(check(&model).unwrap_err().contains("more than"));
        assert!(check(&model[..100]).unwrap_err().contains("truncated"));
        assert_eq!(check(&[0x08, 0x01, 0x3a, 0x02, 0x0a, 0x00]), Ok(()));
    }
}
