//! PEM files: read once, with faults that name the way out.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::key::KeyPath;

/// The beginning of DER: a sequence whose length takes two bytes, as in every certificate and nearly every key.
const DER: &[u8] = &[0x30, 0x82];

/// One file as it was read.
pub(super) struct PemFile {
    /// The key of the config that names it.
    pub(super) key: KeyPath,
    pub(super) path: PathBuf,
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) is_open: bool,
}

/// The fault of a file, as a half sentence after its name.
pub(super) type Fault = String;

const DAMAGED: &str = "which is damaged: it is not well-formed PEM";

impl PemFile {
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => {
                let request =
                    "which has a request for a certificate: an authority makes the certificate of it";
                let others = [
                    ("BEGIN CERTIFICATE REQUEST", request),
                    ("BEGIN NEW CERTIFICATE REQUEST", request),
                    ("PRIVATE KEY-----", "which has a private key instead of a certificate"),
                ];
                Err(self.other_content(&others).unwrap_or("which has no certificate in PEM form").to_owned())
            }
            Err(_) => Err(DAMAGED.to_owned()),
        }
    }

    pub(super) fn authorities(&self) -> Result<Arc<RootCertStore>, Fault> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in self.certificates()?.into_iter().enumerate() {
            let number = index + 1;
            roots.add(certificate).map_err(|_| format!("whose certificate {number} cannot be read"))?;
        }
        Ok(Arc::new(roots))
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Fault> {
        if self.has("BEGIN ENCRYPTED PRIVATE KEY") || self.has("Proc-Type: 4,ENCRYPTED") {
            let text =
                "whose private key needs a password: `openssl pkey -in FILE -out NEW` writes one without";
            return Err(text.to_owned());
        }
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                let of_openssh =
                    "which has a private key in OpenSSH form: `ssh-keygen -p -m PKCS8 -f FILE` changes it";
                let others = [
                    ("BEGIN OPENSSH PRIVATE KEY", of_openssh),
                    ("BEGIN CERTIFICATE", "which has a certificate instead of a private key"),
                ];
                self.other_content(&others).unwrap_or("which has no private key in PEM form").to_owned()
            }
            _ => DAMAGED.to_owned(),
        })
    }

    /// Returns the fault of a file in a binary form or UTF-16, or with one of `others`: a text with its fault.
    fn other_content(&self, others: &[(&str, &'static str)]) -> Option<&'static str> {
        if self.bytes.starts_with(DER) {
            return Some(
                "which is DER or PKCS #12, and not PEM: `openssl x509 -inform der`, `openssl pkey -inform der` or \
                 `openssl pkcs12 -nodes` converts it",
            );
        }
        if self.bytes.starts_with(b"\xff\xfe") || self.bytes.starts_with(b"\xfe\xff") {
            return Some("which is UTF-16 text: save it as UTF-8");
        }
        others.iter().find(|(text, _)| self.has(text)).map(|(_, fault)| *fault)
    }

    fn has(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}
