//! What the chain and its nodes refuse.

use std::time::Duration;

use publisher::commitment::{Class, CommitError, Event, Options};
use standin_chain::{Clock, Fault, Options as StandinOptions, RegistrationCheck, Rejection};

use crate::{BLOCK, STRING, Setting, options};

#[tokio::test]
async fn a_hotkey_that_is_not_registered_is_told_so_and_nothing_is_sent() {
    let setting = Setting::running().await;
    setting.standin.deregister(setting.key());
    let error = setting.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    let message = error.to_string();
    assert!(
        message.contains(&setting.hotkey.account().to_string()),
        "{message}"
    );
    assert!(message.contains("subnet 9"), "{message}");
    assert!(setting.standin.submissions().is_empty());
}

#[tokio::test]
async fn a_hotkey_that_loses_its_place_meanwhile_is_told_so_by_every_runtime() {
    for registration_check in [
        RegistrationCheck::AtDispatch,
        RegistrationCheck::AtSubmission,
    ] {
        let setting = Setting::on(StandinOptions {
            clock: Clock::Every(BLOCK),
            registration_check,
            ..StandinOptions::default()
        });
        let setting = setting.await;
        let (standin, key) = (&setting.standin, setting.key());
        let lose_place = |event: &Event| {
            if matches!(event, Event::Submitting(_)) {
                standin.deregister(key);
            }
        };
        let committing = setting.commit_and(STRING, options(), lose_place);
        let error = committing.await.unwrap_err();
        assert!(
            matches!(error, CommitError::NotRegistered { .. }),
            "{error}"
        );
        assert_eq!(setting.held(), None);
    }
}

#[tokio::test]
async fn a_subnet_that_is_not_there_is_a_mistake_of_the_command_line() {
    let setting = Setting::running().await;
    let chain = setting.chain().await;
    let committing =
        publisher::commitment::commit(&chain, &setting.hotkey, 4000, STRING, options(), &|_| {});
    let error = committing.await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("4000"), "{error}");
}

#[tokio::test]
async fn whatever_the_pool_refuses_for_a_while_is_signed_again() {
    for rejection in [
        Rejection::ExhaustsResources,
        Rejection::Stale,
        Rejection::BadProof,
        Rejection::TemporarilyBanned,
        Rejection::TooLowPriority,
        Rejection::ImmediatelyDropped,
    ] {
        let setting = Setting::running().await;
        setting.inject(Fault::RejectSubmission { rejection });
        let receipt = setting.commit().await.unwrap();
        setting.assert_committed_once(&receipt);
        let submissions = setting.standin.submissions();
        assert_eq!(submissions.len(), 2, "{rejection:?}");
        assert_ne!(submissions[0].hash, submissions[1].hash, "{rejection:?}");
        assert!(
            setting.told(|event| matches!(event, Event::Again { .. })),
            "{rejection:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_fails_in_its_block_is_told_by_the_pallets_own_name() {
    let setting = Setting::running().await;
    setting.inject(Fault::FailDispatch {
        error: "Commitments.TooManyFieldsInCommitmentInfo".to_owned(),
    });
    let error = setting.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    let message = error.to_string();
    assert!(
        message.contains("Commitments.TooManyFieldsInCommitmentInfo"),
        "{message}"
    );
    assert!(message.contains("block"), "{message}");
    assert_eq!(setting.included().len(), 1);
    assert_eq!(setting.held(), None);
}

#[tokio::test]
async fn a_failure_outside_the_pallet_is_worth_two_more_tries() {
    let setting = Setting::running().await;
    for failures in 0..3 {
        setting.inject(Fault::FailDispatch {
            error: "System.InvalidSpecName".to_owned(),
        });
        let options = Options {
            failures,
            ..options()
        };
        let error = setting.commit_with(STRING, options).await.unwrap_err();
        let last = failures == 2;
        let class = if last { Class::Fatal } else { Class::Retry };
        assert_eq!(error.class(), class, "{error}");
        assert_eq!(error.failed_in_passing(), !last);
        let counted = error.to_string().contains("3 transactions");
        assert_eq!(counted, last, "{error}");
    }
    let receipt = setting.commit().await.unwrap();
    assert_eq!(u64::from(setting.included()[3].block), receipt.block);
}

#[tokio::test]
async fn a_call_that_the_chain_filters_is_not_tried_again() {
    let setting = Setting::running().await;
    setting.inject(Fault::FailDispatch {
        error: "System.CallFiltered".to_owned(),
    });
    let error = setting.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal, "{error}");
    assert!(error.to_string().contains("System.CallFiltered"), "{error}");
}

#[tokio::test]
async fn a_commitment_that_has_outlived_the_registration_is_no_success() {
    let setting = Setting::running().await;
    setting.commit().await.unwrap();
    setting.standin.deregister(setting.key());
    assert_eq!(setting.held().as_deref(), Some(STRING));
    let error = setting.commit().await.unwrap_err();
    assert!(
        matches!(error, CommitError::NotRegistered { .. }),
        "{error}"
    );
    let message = error.to_string();
    assert!(message.contains("btcli subnet register"), "{message}");
    assert_eq!(setting.included().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_transactions_is_named() {
    let setting = Setting::running().await;
    setting.inject(Fault::FailRequests {
        method: "author_submitAndWatchExtrinsic".to_owned(),
        code: -32601,
        message: "Method not found".to_owned(),
        times: 1.try_into().unwrap(),
    });
    let error = setting.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("chain_endpoint"), "{error}");
}

#[tokio::test]
async fn what_is_refused_again_and_again_ends_at_the_deadline_with_the_nodes_words() {
    let setting = Setting::running().await;
    setting.inject(Fault::FailRequests {
        method: "author_submitAndWatchExtrinsic".to_owned(),
        code: 1016,
        message: "Immediately Dropped".to_owned(),
        times: 1_000_000.try_into().unwrap(),
    });
    let impatient = Options {
        deadline: Duration::from_millis(400),
        ..options()
    };
    let error = setting.commit_with(STRING, impatient).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert_eq!(error.pending(), None);
    assert!(error.to_string().contains("Immediately Dropped"), "{error}");
}
