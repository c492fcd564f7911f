//! Which databases are opened, by whom, and how connections are protected.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use towpath_store::{Options, Store, StoreError, Txn};
use towpath_test_cluster::Cluster;

async fn refused(url: &str) -> StoreError {
    match Store::open(Options::database(url)).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

fn database_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_open_a_new_database_at_once() {
    let url = Cluster::shared().database();
    let openers: Vec<_> = (0..6).map(|_| tokio::spawn(Store::open(Options::database(&url)))).collect();
    for opener in openers {
        let store = opener.await.unwrap().unwrap();
        assert_eq!(store.last_sequence().await.unwrap(), 0);
        assert!(store.is_shared());
    }
    let sql = "SELECT value FROM towpath.meta WHERE name = 'schema'";
    assert_eq!(Cluster::shared().sql(database_of(&url), sql), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_opened_only_where_it_says_so() {
    let url = Cluster::shared().database();
    Store::open(Options::database(&url)).await.unwrap().close().await;
    let set = |name, value| {
        let sql = format!("UPDATE towpath.meta SET value = {value} WHERE name = '{name}'");
        Cluster::shared().sql(database_of(&url), &sql)
    };
    set("schema", 99);
    Store::open(Options::database(&url)).await.unwrap().close().await;
    set("oldest_reader", 99);
    let error = refused(&url).await;
    assert!(matches!(error, StoreError::TooNew { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("was written by a newer version"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_programs_schema_is_left_alone() {
    let cluster = Cluster::shared();
    for theirs in ["CREATE TABLE towpath.theirs (x int)", "CREATE TABLE towpath.meta (x int)"] {
        let url = cluster.database();
        cluster.sql(database_of(&url), &format!("CREATE SCHEMA towpath; {theirs}"));
        let error = refused(&url).await;
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_needs_no_more_than_a_schema_of_its_own() {
    let cluster = Cluster::shared();
    let url = cluster.database();
    let (database, port) = (database_of(&url), cluster.port());
    cluster
        .sql(database, "CREATE ROLE plain LOGIN PASSWORD 'word'; CREATE SCHEMA towpath AUTHORIZATION plain");
    let plain = format!("postgresql://plain:word@127.0.0.1:{port}/{database}");
    let store = Store::open(Options::database(&plain)).await.unwrap();
    let mut txn = Txn::new();
    txn.cancel("q", "k");
    store.commit(txn).await.unwrap();
    let error = refused(&format!("postgresql://plain:wrong@127.0.0.1:{port}/{database}")).await;
    let told = error.to_string();
    assert!(told.contains("does not let us in") && told.contains("28P01"), "{told}");
    assert!(!told.contains("wrong"), "the password is told: {told}");
    let error = refused(&format!("postgresql://plain:word@127.0.0.1:{port}/postgres")).await;
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_keep_the_promises_is_refused_by_name() {
    let cluster = Cluster::shared();
    cluster.sql("postgres", "CREATE DATABASE narrow ENCODING 'SQL_ASCII' TEMPLATE template0");
    let error = refused(&cluster.url("narrow")).await;
    assert!(matches!(error, StoreError::Unfit { .. }), "{error}");
    assert!(error.to_string().contains("SQL_ASCII"), "{error}");
    let bounded = Options { max_bytes: Some(1 << 20), ..Options::database(cluster.url("postgres")) };
    let error = Store::open(bounded).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Location(_)), "{error}");
    let error = refused(&cluster.url("nowhere")).await;
    assert!(error.to_string().contains("3D000"), "{error}");
}

/// Debian's package brings a certificate for its own host name, and its key, which only root's group reads;
/// the test makes its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_encrypted_and_checked_as_the_url_says() {
    let cluster = Cluster::start(&["password_encryption = 'scram-sha-256'"]);
    let data = cluster.folder().join("data");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(data.join("server.key"))
        .arg("-out")
        .arg(data.join("server.crt"))
        .output()
        .expect("openssl is missing: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    cluster.own(&data.join("server.key"));
    let database = cluster.database();
    let url = database.replace("127.0.0.1", "localhost");
    let error = refused(&format!("{url}?sslmode=require")).await;
    assert!(error.to_string().contains("TLS"), "a server without TLS: {error}");
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let certificate = data.join("server.crt");
    let trusted = format!("sslmode=verify-full&sslrootcert={}", certificate.display());
    for parameters in ["sslmode=require", "sslmode=require&channel_binding=require", &trusted] {
        let store = Store::open(Options::database(format!("{url}?{parameters}"))).await.unwrap();
        store.last_sequence().await.unwrap();
        let sql = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = 'towpath'";
        assert_eq!(cluster.sql("postgres", sql), "t", "{parameters}");
        store.close().await;
    }
    let error = refused(&format!("{database}?{trusted}")).await;
    assert!(error.to_string().contains("certificate"), "the name in it is another: {error}");
    let strangers = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt";
    let error = refused(&format!("{url}?{strangers}")).await;
    assert!(error.to_string().contains("certificate"), "nobody vouches for it: {error}");
}
