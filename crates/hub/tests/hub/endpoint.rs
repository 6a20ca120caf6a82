//! What is said about the Hub's address.

use std::io;
use std::sync::{Arc, Mutex};

use cli::Secret;
use hub::{Hub, HubConfig, HubError};

fn client(endpoint: &str, token: Option<&str>) -> Result<Hub, HubError> {
    Hub::new(HubConfig::new(endpoint, token.map(Secret::new), "unused"))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What is logged while clients of these endpoints are made.
    fn of(&self, endpoints: &[(&str, Option<&str>)]) -> String {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for (endpoint, token) in endpoints {
                client(endpoint, *token).unwrap();
            }
        });
        let written = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(written).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_token_that_would_travel_unencrypted_is_warned_of_once() {
    const TOKEN: Option<&str> = Some("hf_0123456789");
    let log = Log::default();
    let harmless = [
        ("https://hub.example", TOKEN),
        ("http://hub.example", None),
        ("http://hub.example", Some("")),
        ("http://localhost:8080", TOKEN),
        ("http://127.0.0.2:8080", TOKEN),
        ("http://[::1]:8080", TOKEN),
    ];
    assert_eq!(log.of(&harmless), "");
    let warned = log.of(&[
        ("http://user:secret@hub.example", TOKEN),
        ("http://hub.example", TOKEN),
    ]);
    assert_eq!(warned.lines().count(), 1, "{warned}");
    assert!(warned.contains("WARN") && warned.contains("http://…@hub.example"));
    assert!(!warned.contains("secret") && !warned.contains("hf_"));
}

#[test]
fn a_password_in_the_address_is_not_shown() {
    for endpoint in [
        "ftp://user:secret@hub.example",
        "http://user:secret@hub.example:port",
        "http://user:se/secret@hub.example",
        "user:secret@hub.example",
    ] {
        let error = client(endpoint, None).unwrap_err();
        assert!(matches!(error, HubError::Config { .. }), "{endpoint}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("hub.example"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
    let client = client("https://user:secret@hub.example", None).unwrap();
    assert!(!format!("{client:?}").contains("secret"));
}
