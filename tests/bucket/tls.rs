//! A bucket behind TLS with a certificate of the operator's own making.

use super::common::{Server, wait};
use super::service::{Bucket, make_stream, refused};
use super::{assert_holds, push};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An authority with its certificate in a file.
struct Authority(CertifiedIssuer<'static, KeyPair>, PathBuf);

impl Authority {
    fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority(issuer, file)
    }

    /// Ends TLS under this name, and passes on what comes to the port. Gives its own port; ends with the runtime.
    fn before(&self, name: &str, port: u16, runtime: &tokio::runtime::Runtime) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let own = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let (Ok(mut socket), Ok(mut service)) =
                        (acceptor.accept(socket).await, tokio::net::TcpStream::connect(("127.0.0.1", port)).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut service).await;
                });
            }
        });
        own
    }
}

#[test]
fn recordings_go_through_tls_with_an_authority_of_the_operators_own() {
    through_tls(Bucket::script());
}

#[test]
fn recordings_go_through_tls_to_garage() {
    Bucket::garage().into_iter().for_each(through_tls);
}

fn through_tls(bucket: Bucket) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, other) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "other"));
    let port = ours.before("localhost", bucket.port(), &runtime);
    let serve = |ca: Option<&Path>, port: u16| -> Command {
        let mut command = bucket.serve_at(data.path(), "s3://media/tls", &format!("https://localhost:{port}"));
        ca.map(|file| command.env("VIDICON_STORAGE__CA_FILE", file));
        command
    };
    let trusted = Some(ours.1.as_path());

    // What is not trusted is told before anything is written.
    refused(serve(None, port), 2, "the certificate of the service is not accepted");
    refused(serve(Some(&other.1), port), 2, "storage.ca_file");
    let elsewhere = ours.before("elsewhere.example", bucket.port(), &runtime);
    refused(serve(trusted, elsewhere), 2, "the certificate of the service is not accepted");
    refused(serve(trusted, bucket.port()), 2, "does not speak TLS");
    refused(serve(Some(&folder.path().join("none.pem")), port), 2, "storage.ca_file");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    refused(serve(Some(&empty), port), 2, "holds no certificate");
    assert!(!bucket.has("tls/vidicon-store.json"));

    let mut server = Server::start(serve(trusted, port));
    make_stream(&server);
    let persisted = push(&server, 0, 12, Duration::from_secs(30));
    assert_eq!(persisted.len(), 12);
    assert_holds(&server, &persisted);
    server.child.kill().unwrap();
    wait(&mut server.child, Duration::from_secs(5)).unwrap();
    let server = Server::start(serve(trusted, port));
    assert_holds(&server, &persisted);
    assert!(bucket.has("tls/vidicon-store.json"));
}
