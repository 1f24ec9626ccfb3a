//! A peer's bytes, right or wrong, give a value or a typed error, never a panic.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use ntt::Modulus;
use pahe::*;
use prg::{Prg, Seed};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// The smallest set with a special prime, so that many cases run.
static PARAMS: LazyLock<Arc<Params>> =
    LazyLock::new(|| Params::new(2048, &[24], Some(26), Modulus::pow2(8).unwrap()).unwrap());

static SECRET: LazyLock<Arc<SecretKey>> =
    LazyLock::new(|| SecretKey::generate(&PARAMS, &mut Prg::new(&Seed::from_bytes([1; 16]))));

/// `len` bytes, give or take one, all but a few of them zero.
fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let spots = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40);
    (len - 1..=len + 1, spots).prop_map(|(len, spots)| {
        let mut bytes = vec![0; len];
        spots.into_iter().for_each(|(at, value)| bytes[at.index(len)] = value);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn public_keys(bytes in bytes(PublicKey::byte_len(&PARAMS))) {
        let right = bytes.len() == PublicKey::byte_len(&PARAMS);
        match PublicKey::from_bytes(&PARAMS, &bytes) {
            Ok(key) => prop_assert_eq!(key.to_bytes(), bytes),
            Err(KeyError::Length { .. }) => prop_assert!(!right),
            Err(KeyError::Range) => prop_assert!(right),
        }
    }

    #[test]
    fn galois_keys(bytes in bytes(GaloisKey::byte_len(&PARAMS))) {
        let right = bytes.len() == GaloisKey::byte_len(&PARAMS);
        match GaloisKey::from_bytes(&PARAMS, 1, &bytes) {
            Ok(key) => prop_assert_eq!(key.to_bytes(), bytes),
            Err(KeyError::Length { .. }) => prop_assert!(!right),
            Err(KeyError::Range) => prop_assert!(right),
        }
    }

    #[test]
    fn uploads(drop_bits in 0u32..20, bytes in bytes(2 * 2048 * 24 / 8)) {
        let format = UploadFormat::new(&PARAMS, drop_bits).unwrap();
        let stream = UploadStream::from_header(&PARAMS, format, [7; 16]);
        let mut block = CiphertextBlock::new(&PARAMS, 2, 1);
        let right = bytes.len() == 2 * format.ciphertext_bytes(&PARAMS);
        match block.ingest(&stream, 0, &bytes, &[(0, 0), (1, 0)], None) {
            Ok(()) | Err(UploadError::Range) => prop_assert!(right),
            Err(UploadError::Length { .. }) => prop_assert!(!right),
        }
    }

    #[test]
    fn replies(seed in any::<[u8; 16]>(), cut in -1isize..=1) {
        // Few statistical bits: the set is too small for a real run.
        let budget = RunBudget { values: 1, statistical_bits: 1, failure_bits: 1 };
        let format = ReplyFormat::new(&PARAMS, &budget, Noise::fresh(UploadFormat::FULL)).unwrap();
        let right = format.reply_bytes(&PARAMS, 3);
        let mut bytes = vec![0; right.strict_add_signed(cut)];
        Prg::new(&Seed::from_bytes(seed)).fill(&mut bytes);
        let mut values = Vec::new();
        let result = Decryptor::new(&SECRET, format).decrypt(&bytes, &[Positions::List(&[0, 7, 2047])], &mut values);
        prop_assert_eq!(result.is_ok(), cut == 0);
        let expected = if cut == 0 { 3 } else { 0 };
        prop_assert!(values.len() == expected && values.iter().all(|&v| v < 256));
    }
}
