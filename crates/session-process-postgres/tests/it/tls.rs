//! TLS, to a server with a certificate that nobody but the test has signed.

use std::{net::TcpListener, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use session_process::store::{Op, SessionKey, SessionStore};
use session_process_postgres::{Builder, OpenError, PostgresStore};
use testkit::postgres::{Disk, Server};
use tokio_postgres::{Config, config::SslMode};

use crate::support::{apply, change};

/// One that trusts these certificates, and no others.
fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn open(config: Config, tls: Option<ClientConfig>) -> Result<PostgresStore, OpenError> {
    let builder = Builder::from_config(config);
    match tls {
        Some(tls) => builder.rustls(tls).open().await,
        None => builder.open().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_by_tls_if_its_certificate_is_trusted_and_not_at_all_otherwise() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let strange = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server = Server::private(Disk::Careless).await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    tokio::task::block_in_place(|| {
        server.stop();
        server.start_with_tls(port, &own.cert.pem(), &own.signing_key.serialize_pem());
    });
    let config = |host: &str| {
        let mut config = Config::new();
        config.hostaddr([127, 0, 0, 1].into()).host(host).port(port);
        config.user("postgres").dbname("postgres").ssl_mode(SslMode::Require);
        config
    };
    let roots = |certificate: &rcgen::Certificate| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        roots
    };
    let tls = || Some(trusting(roots(&own.cert)));

    let store = open(config("localhost"), tls()).await.unwrap();
    let key = SessionKey::from_bytes([1; 32]);
    apply(&store, change(key, Op::Create(Box::default()))).await.unwrap();
    assert!(store.load(&[key]).await.unwrap()[0].is_some());
    assert!(
        store.health().await.cache.is_trusted(),
        "also the connection that listens"
    );
    let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE \
               application_name = 'session-process'";
    let (client, connection) = {
        let mut config = config("localhost");
        config.ssl_mode(SslMode::Disable);
        config.connect(tokio_postgres::NoTls).await.unwrap()
    };
    tokio::spawn(connection);
    let row = client.query_one(sql, &[]).await.unwrap();
    let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
    assert!(
        all >= 3 && all == encrypted,
        "{encrypted} of {all} connections are encrypted"
    );

    for (config, tls, why) in [
        (
            config("localhost"),
            Some(trusting(roots(&strange.cert))),
            "another certificate",
        ),
        (config("elsewhere"), tls(), "another name"),
        (config("localhost"), None, "no TLS here, and it is required"),
    ] {
        let refused = open(config, tls).await;
        assert!(matches!(refused, Err(OpenError::Unreachable(_))), "{why}: {refused:?}");
    }
}
