//! Identifiers and the text encodings that they need.

/// The operating system's randomness. It cannot fail on a running Linux; should it, no identifier or
/// secret could be trusted, so the process stops.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system gives no randomness: {error}");
    }
    bytes
}

/// A random (version 4) UUID in lower case.
pub fn uuid() -> String {
    let mut bytes = random_bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `length` random characters of `alphabet`, without bias for alphabets that divide 256 and with a
/// negligible one otherwise removed by rejection.
pub fn random_text(alphabet: &[u8], length: usize) -> String {
    let limit = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in random_bytes::<32>() {
            if (byte as usize) < limit && text.len() < length {
                text.push(alphabet[byte as usize % alphabet.len()] as char);
            }
        }
    }
    text
}

/// An IAM-style unique id: a prefix (`AKIA`, `AIDA`, `AROA`, …) and capital letters and digits.
pub fn iam_id(prefix: &str, length: usize) -> String {
    format!("{prefix}{}", random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", length - prefix.len()))
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| DIGITS[nibble as usize] as char)
        .collect()
}

pub fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
