//! What has to be true before a transaction is signed, and before it is sent.

use std::sync::atomic::{AtomicBool, Ordering};

use publisher::commitment::{Class, CommitError, Event, Options, Pending};
use standin_chain::{Fault, Rejection};

use crate::{STRING, Setting, options};

#[tokio::test]
async fn nothing_is_sent_before_the_journal_has_it() {
    let setting = Setting::running().await;
    let sent_before = AtomicBool::new(false);
    let write = |_: &Pending| {
        let sent = !setting.standin.submissions().is_empty();
        sent_before.store(sent, Ordering::SeqCst);
        Ok(())
    };
    let options = Options {
        journal: &write,
        ..options()
    };
    let receipt = setting.commit_with(STRING, options).await.unwrap();
    setting.assert_committed_once(&receipt);
    assert!(!sent_before.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_the_journal_cannot_take_is_not_sent() {
    let setting = Setting::running().await;
    let options = Options {
        journal: &|_| Err("no space left on device".to_owned()),
        ..options()
    };
    let error = setting.commit_with(STRING, options).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(error.pending(), None);
    assert!(setting.standin.submissions().is_empty());
    assert!(!setting.told(|event| matches!(event, Event::Submitting(_))));
}

#[tokio::test]
async fn whoever_may_not_sign_signs_nothing_but_finds_what_is_there() {
    let setting = Setting::running().await;
    let may_not = Options {
        may_sign: &|| Err("another has the hotkey".to_owned()),
        ..options()
    };
    let error = setting.commit_with(STRING, may_not.clone()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CommitError::MayNotSign(_)), "{error}");
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().contains("another has"), "{error}");
    assert!(setting.standin.submissions().is_empty());

    setting.commit().await.unwrap();
    let receipt = setting.commit_with(STRING, may_not).await.unwrap();
    assert!(receipt.adopted);
    setting.assert_committed_once(&receipt);
}

#[tokio::test]
async fn the_right_to_sign_is_asked_for_again_before_a_second_signature() {
    let setting = Setting::running().await;
    setting.inject(Fault::RejectSubmission {
        rejection: Rejection::ImmediatelyDropped,
    });
    let used = AtomicBool::new(false);
    let once = || match used.swap(true, Ordering::SeqCst) {
        false => Ok(()),
        true => Err("another has the hotkey".to_owned()),
    };
    let options = Options {
        may_sign: &once,
        ..options()
    };
    let error = setting.commit_with(STRING, options).await.unwrap_err();
    assert!(matches!(error, CommitError::MayNotSign(_)), "{error}");
    assert_eq!(setting.standin.submissions().len(), 1);
    assert_eq!(setting.held(), None);
}

#[tokio::test]
async fn what_was_sent_is_followed_to_its_end_by_whoever_may_no_longer_sign() {
    let setting = Setting::running().await;
    setting.inject(Fault::LoseSubmissions { times: 1 });
    let used = AtomicBool::new(false);
    let once = || match used.swap(true, Ordering::SeqCst) {
        false => Ok(()),
        true => Err("another has the hotkey".to_owned()),
    };
    let options = Options {
        may_sign: &once,
        ..options()
    };
    let receipt = setting.commit_with(STRING, options).await.unwrap();
    setting.assert_committed_once(&receipt);
    assert_eq!(setting.standin.submissions().len(), 2, "the same, again");
}
