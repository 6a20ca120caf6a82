//! What happens when nothing goes wrong.

use std::sync::Arc;

use publisher::commitment::{Class, Event};
use standin_chain::{Options as StandinOptions, raw_commitment};

use crate::{STRING, Setting, options};

#[tokio::test]
async fn a_string_is_committed_final_and_read_back() {
    let setting = Arc::new(Setting::by_hand().await);
    let committing = setting.start();
    setting.standin.submitted(1).await;
    setting.standin.finalize().await;
    setting.standin.advance(3).await;
    let receipt = committing.await.unwrap().unwrap();
    assert!(!receipt.adopted);
    assert_eq!(receipt.fee, Some(0));
    setting.assert_committed_once(&receipt);
    let hash = receipt.extrinsic.unwrap();
    assert_eq!(
        hash,
        format!("0x{}", hex::encode(setting.included()[0].hash))
    );
    assert!(
        setting.told(|event| matches!(event, Event::Submitting(pending) if pending.hash == hash))
    );
}

#[tokio::test]
async fn the_string_is_one_raw_field_of_its_own_length() {
    let setting = Setting::running().await;
    setting.commit().await.unwrap();
    let commitment = setting.standin.commitment(setting.key()).unwrap();
    assert_eq!(commitment.info, raw_commitment(STRING.as_bytes()));
}

#[tokio::test]
async fn what_the_chain_holds_already_is_adopted_with_its_block() {
    let setting = Setting::running().await;
    let info = raw_commitment(STRING.as_bytes());
    setting.standin.set_commitment_raw(setting.key(), 1, &info);
    let receipt = setting.commit().await.unwrap();
    assert!(receipt.adopted);
    assert_eq!(receipt.block, 1);
    assert_eq!(receipt.extrinsic, None);
    assert!(setting.standin.submissions().is_empty());
}

#[tokio::test]
async fn committing_twice_submits_once() {
    let setting = Setting::running().await;
    let first = setting.commit().await.unwrap();
    let second = setting.commit().await.unwrap();
    assert!(second.adopted);
    assert_eq!(first.block, second.block);
    setting.assert_committed_once(&first);
}

#[tokio::test]
async fn two_at_once_take_turns() {
    let setting = Arc::new(Setting::running().await);
    let (one, other) = (setting.start(), setting.start());
    let (one, other) = (one.await.unwrap().unwrap(), other.await.unwrap().unwrap());
    assert_ne!(one.adopted, other.adopted);
    assert_eq!(one.block, other.block);
    setting.assert_committed_once(&one);
}

#[tokio::test]
async fn a_newer_string_takes_the_place_of_an_older_one() {
    let setting = Setting::running().await;
    setting
        .commit_with("ns:older:None:None", options())
        .await
        .unwrap();
    let receipt = setting
        .commit_with("ns:newer:None:None", options())
        .await
        .unwrap();
    assert!(!receipt.adopted);
    assert_eq!(setting.held().as_deref(), Some("ns:newer:None:None"));
    assert_eq!(setting.included().len(), 2);
}

#[tokio::test]
async fn what_cannot_fit_into_a_commitment_is_refused_before_anything_is_asked() {
    let setting = Setting::running().await;
    for text in ["", &"x".repeat(129)] {
        let error = setting.commit_with(text, options()).await.unwrap_err();
        assert_eq!(error.class(), Class::Fatal, "{error}");
        assert!(
            error.to_string().contains(&text.len().to_string()),
            "{error}"
        );
    }
    assert!(setting.standin.submissions().is_empty());
}

#[tokio::test]
async fn every_length_that_fits_is_read_back() {
    let setting = Setting::running().await;
    for length in [1, 63, 64, 128] {
        let text = "x".repeat(length);
        setting.commit_with(&text, options()).await.unwrap();
        assert_eq!(setting.held(), Some(text));
    }
}

#[tokio::test]
async fn a_fee_is_told_and_a_runtime_that_tells_none_is_no_trouble() {
    for fee in [None, Some(12_345)] {
        let setting = Setting::on(StandinOptions {
            clock: standin_chain::Clock::Every(crate::BLOCK),
            fee,
            ..StandinOptions::default()
        });
        let receipt = setting.await.commit().await.unwrap();
        assert_eq!(receipt.fee, fee.map(u128::from));
    }
}
