//! Signed deployment specifications, as AWS's own agent wants them: a PKCS #7 SignedData (RFC 2315) in PEM,
//! with the specification as its content, one ECDSA P-256 signature and the certificate that goes with it.
//!
//! The certificate is this server's own and says so. It proves nothing to anybody who does not know the
//! server: an agent trusts the endpoint that it was configured with. The key is made once and kept in the
//! store; losing it loses nothing, a new one is made.
//!
//! The few DER structures are written by hand: they are fixed, and output only.

use crate::CodeDeployService;
use crate::store::SigningKey;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use towpath_api::{ApiError, id};
use towpath_store::{StoreError, Txn, key};

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the signing key cannot be used: {0}")]
    Key(ring::error::KeyRejected),
    #[error("signing failed")]
    Unspecified,
}

impl From<ring::error::KeyRejected> for SignError {
    fn from(error: ring::error::KeyRejected) -> Self {
        SignError::Key(error)
    }
}

impl From<ring::error::Unspecified> for SignError {
    fn from(_: ring::error::Unspecified) -> Self {
        SignError::Unspecified
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;

const ONE: &[u8] = &[0x02, 0x01, 0x01];
const NULL: &[u8] = &[0x05, 0x00];
const OID_SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const OID_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const OID_SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const OID_ECDSA_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const OID_EC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const COMMON_NAME: &str = "Towpath deployment specifications";

/// One DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn name() -> Vec<u8> {
    let text = der(UTF8_STRING, &[COMMON_NAME.as_bytes()]);
    let attribute = der(SEQUENCE, &[OID_COMMON_NAME, &text]);
    der(SEQUENCE, &[&der(SET, &[&attribute])])
}

fn sha256() -> Vec<u8> {
    der(SEQUENCE, &[OID_SHA256, NULL])
}

fn ecdsa() -> Vec<u8> {
    der(SEQUENCE, &[OID_ECDSA_SHA256])
}

pub struct Signer {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    random: SystemRandom,
}

impl Signer {
    /// A new key, in PKCS #8.
    pub fn generate() -> Result<Vec<u8>, SignError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())?;
        Ok(document.as_ref().to_vec())
    }

    pub fn new(pkcs8: &[u8]) -> Result<Signer, SignError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random)?;
        let certificate = certificate(&key, &random)?;
        Ok(Signer { key, certificate, random })
    }
}

/// A version 1 certificate of the key by itself. Its dates mean nothing: nobody checks them.
fn certificate(key: &EcdsaKeyPair, random: &SystemRandom) -> Result<Vec<u8>, SignError> {
    let from = der(UTC_TIME, &[b"200101000000Z"]);
    let until = der(GENERALIZED_TIME, &[b"99991231235959Z"]);
    let public = der(BIT_STRING, &[&[0], key.public_key().as_ref()]);
    let key_info = der(SEQUENCE, &[&der(SEQUENCE, &[OID_EC_KEY, OID_P256]), &public]);
    let validity = der(SEQUENCE, &[&from, &until]);
    let body = der(SEQUENCE, &[ONE, &ecdsa(), &name(), &validity, &name(), &key_info]);
    let signature = key.sign(random, &body)?;
    Ok(der(SEQUENCE, &[&body, &ecdsa(), &der(BIT_STRING, &[&[0], signature.as_ref()])]))
}

/// PEM of a SignedData with `content` inside.
pub fn sign(signer: &Signer, content: &[u8]) -> Result<String, SignError> {
    let signature = signer.key.sign(&signer.random, content)?;
    let issuer_and_serial = der(SEQUENCE, &[&name(), ONE]);
    let signature = der(OCTET_STRING, &[signature.as_ref()]);
    let signer_info = der(SEQUENCE, &[ONE, &issuer_and_serial, &sha256(), &ecdsa(), &signature]);
    let inner = der(SEQUENCE, &[OID_DATA, &der(CONTEXT_0, &[&der(OCTET_STRING, &[content])])]);
    let signed = der(
        SEQUENCE,
        &[
            ONE,
            &der(SET, &[&sha256()]),
            &inner,
            &der(CONTEXT_0, &[&signer.certificate]),
            &der(SET, &[&signer_info]),
        ],
    );
    Ok(pem(&der(SEQUENCE, &[OID_SIGNED_DATA, &der(CONTEXT_0, &[&signed])])))
}

fn pem(bytes: &[u8]) -> String {
    let text = id::base64_encode(bytes);
    let mut out = String::from("-----BEGIN PKCS7-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str("\n-----END PKCS7-----\n");
    out
}

impl CodeDeployService {
    /// The server's signer; its key is made when it is first needed.
    pub(super) async fn signer(&self) -> Result<&Signer, ApiError> {
        self.signer
            .get_or_try_init(|| async {
                loop {
                    if let Some(kept) = self.store.get::<SigningKey>(&key(&[SigningKey::NAME])).await? {
                        let pkcs8 = id::base64_decode(&kept.pkcs8).unwrap_or_default();
                        return Signer::new(&pkcs8).map_err(ApiError::internal);
                    }
                    let pkcs8 = Signer::generate().map_err(ApiError::internal)?;
                    let mut txn = Txn::new();
                    txn.create(&SigningKey { pkcs8: id::base64_encode(&pkcs8) });
                    match self.store.commit(txn).await {
                        // Whoever was faster, its key is read in the next round.
                        Ok(()) | Err(StoreError::Conflict { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn lengths_have_the_shortest_form() {
        assert_eq!(der(OCTET_STRING, &[&[7; 3]])[..2], [0x04, 3]);
        assert_eq!(der(OCTET_STRING, &[&[7; 0x80]])[..3], [0x04, 0x81, 0x80]);
        assert_eq!(der(OCTET_STRING, &[&[7; 0x1234]])[..4], [0x04, 0x82, 0x12, 0x34]);
    }

    /// OpenSSL is what AWS's agent verifies with; `-noverify` is its `NOVERIFY`.
    #[test]
    fn openssl_verifies_the_signature_and_gives_the_content_back() {
        let signer = Signer::new(&Signer::generate().unwrap()).unwrap();
        let content = format!(r#"{{"DeploymentId":"d-1","Padding":"{}"}}"#, "x".repeat(700));
        let signed = sign(&signer, content.as_bytes()).unwrap();
        assert!(signed.len() < 8_192);
        assert_eq!(verify(&signed).as_deref(), Some(content.as_str()));

        // The control: one changed byte of the signature's PEM is not accepted.
        let place = signed.len() - 40;
        let other = if &signed[place..=place] == "A" { "B" } else { "A" };
        let mut tampered = signed.clone();
        tampered.replace_range(place..=place, other);
        assert_eq!(verify(&tampered), None);
    }

    fn verify(pem: &str) -> Option<String> {
        let mut openssl = Command::new("openssl")
            .args(["smime", "-verify", "-noverify", "-inform", "PEM", "-binary"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs the openssl command");
        openssl.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
        let output = openssl.wait_with_output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}
