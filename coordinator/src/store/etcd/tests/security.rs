//! TLS, certificates, users and what they may do.

use std::fs;
use std::path::{Path, PathBuf};

use cli::Secret;
use etcd::wire::auth_client::AuthClient;
use etcd::wire::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, Permission, permission,
};
use local_cluster::EtcdTls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

const PASSWORD: &str = "correct horse";

/// An authority and what it has signed, in files.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            let write = |kind: &str, text: String| {
                fs::write(folder.path().join(format!("{name}.{kind}")), text).unwrap();
            };
            write("pem", certificate.pem());
            write("key", key.serialize_pem());
        }
        Certificates { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn with_tls(endpoint: &str) -> EtcdConfig {
    let url = format!("etcds://{endpoint}/test");
    let StoreUrl::Etcd(url) = url.parse().unwrap() else {
        panic!("{url} is etcd's");
    };
    EtcdConfig {
        patience: Duration::from_secs(1),
        ..EtcdConfig::new(url)
    }
}

fn start(folder: &Path, certificates: &Certificates) -> EtcdServer {
    let tls = EtcdTls {
        certificate: certificates.file("server.pem"),
        key: certificates.file("server.key"),
        client_authority: Some(certificates.file("ca.pem")),
    };
    EtcdServer::start_with(folder, Some(tls)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_tls_connection_show_certificates() {
    if !EtcdServer::is_there_for("both_sides_of_a_tls_connection_show_certificates") {
        return;
    }
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &certificates);
    let trusting = EtcdConfig {
        ca: Some(certificates.file("ca.pem")),
        ..with_tls(&server.endpoint())
    };
    let whole = EtcdConfig {
        identity: Some((
            certificates.file("client.pem"),
            certificates.file("client.key"),
        )),
        patience: Duration::from_secs(60),
        ..trusting.clone()
    };
    let etcd = Etcd::connect(&whole).await.unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    commit(&leadership.keyspace(), batch(&[("k", "1")]))
        .await
        .unwrap();
    assert_eq!(everything(&etcd.reader()).len(), 1);

    // Not trusting it, not trusted by it, and not speaking TLS at all.
    let plain = EtcdConfig {
        patience: Duration::from_secs(1),
        ..config(&[server.endpoint()])
    };
    for lacking in [with_tls(&server.endpoint()), trusting.clone(), plain] {
        let refused = Etcd::connect(&lacking).await.map(|_| ());
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::Etcd { .. }), "{error}");
    }
    // With patience for more than one attempt: the last one's reason is told.
    let untrusting = EtcdConfig {
        patience: Duration::from_secs(5),
        ..with_tls(&server.endpoint())
    };
    let untrusting = Etcd::connect(&untrusting).await.map(|_| ());
    let text = untrusting.unwrap_err().to_string();
    assert!(text.contains("certificate"), "{text}");
    let missing = EtcdConfig {
        ca: Some(certificates.file("nowhere.pem")),
        ..trusting
    };
    let text = Etcd::connect(&missing)
        .await
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(text.contains("nowhere.pem"), "{text}");
}

/// Makes a user who may use `/test`, and demands credentials.
async fn enable_auth(etcd: &Etcd) {
    let mut auth = AuthClient::new(etcd.reading.client.service().await.unwrap());
    for user in ["root", "miner"] {
        let role = AuthRoleAddRequest {
            name: user.to_owned(),
        };
        auth.role_add(role).await.unwrap();
        let added = AuthUserAddRequest {
            name: user.to_owned(),
            password: PASSWORD.to_owned(),
        };
        auth.user_add(added).await.unwrap();
        let granted = AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: user.to_owned(),
        };
        auth.user_grant_role(granted).await.unwrap();
    }
    let permission = AuthRoleGrantPermissionRequest {
        name: "miner".to_owned(),
        perm: Some(Permission {
            perm_type: permission::Type::Readwrite.into(),
            key: b"/test/".to_vec(),
            range_end: b"/test0".to_vec(),
        }),
    };
    auth.role_grant_permission(permission).await.unwrap();
    auth.auth_enable(AuthEnableRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_use_the_prefix_is_all_that_is_needed() {
    let Some(mut real) = Real::start("a_user_who_may_use_the_prefix_is_all_that_is_needed") else {
        return;
    };
    enable_auth(&real.connect().await).await;
    let as_user = |user: &str, password: &str| EtcdConfig {
        user: Some((user.to_owned(), Secret::new(password))),
        ..real.config()
    };
    let words = async |config: EtcdConfig| {
        let connected = Etcd::connect(&config).await.map(|_| ());
        connected.unwrap_err().to_string()
    };
    let nobody = words(real.config()).await;
    assert!(nobody.contains("--etcd-user"), "{nobody}");
    let wrong = words(as_user("miner", "wrong horse")).await;
    assert!(
        wrong.contains("password") && !wrong.contains("horse"),
        "{wrong}"
    );
    let mut elsewhere = as_user("miner", PASSWORD);
    elsewhere.url.prefix = "/tes".to_owned();
    let elsewhere = words(elsewhere).await;
    assert!(elsewhere.contains("readwrite"), "{elsewhere}");

    let config = as_user("miner", PASSWORD);
    assert!(!format!("{config:?}").contains("horse"));
    let etcd = Etcd::connect(&config).await.unwrap();
    let leadership = etcd.campaign("a:1", LONG).await.unwrap();
    let keyspace = leadership.keyspace();
    let mut large = Batch::default();
    for number in 0..500 {
        large.put(format!("{number}").into_bytes(), b"x".to_vec());
    }
    commit(&keyspace, large).await.unwrap();
    // etcd forgets the tokens that it gave when it ends.
    real.server.restart().unwrap();
    commit(&keyspace, batch(&[("k", "1")])).await.unwrap();
    assert_eq!(everything(&etcd.reader()).len(), 501);
    leadership.resign().await.unwrap();
    assert_eq!(etcd.leader().await.unwrap(), None);
}
