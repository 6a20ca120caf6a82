//! What the chain allows, predicted before it is spent.

use publisher::commitment::{Class, CommitError};
use standin_chain::{Clock, Fault, Options as StandinOptions, Quota};

use crate::{BLOCK, STRING, Setting, options};

/// Long epochs, so that none ends within a test unless the test says so.
fn epochs_of(tempo: u16) -> StandinOptions {
    StandinOptions {
        clock: Clock::Every(BLOCK / 3),
        tempo,
        ..StandinOptions::default()
    }
}

#[tokio::test]
async fn a_full_epoch_is_foreseen_and_the_block_told_at_which_it_ends() {
    // 3100 bytes are 24 strings of 128 bytes, and 28 bytes.
    let setting = Setting::on(epochs_of(10_000)).await;
    let mut committed = 0;
    let error = loop {
        let text = format!("{committed:0>128}");
        match setting.commit_with(&text, options()).await {
            Ok(_) => committed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(committed, 24);
    // Epochs of 10,001 blocks, ten blocks early on subnet 9.
    let until = Some(10_001 - 10);
    assert_eq!(error.class(), Class::Wait { until }, "{error}");
    assert!(error.to_string().contains("3072 of 3100"), "{error}");
    assert_eq!(setting.standin.submissions().len(), 24);
}

#[tokio::test]
async fn the_next_epoch_begins_with_nothing_used() {
    let setting = Setting::on(StandinOptions {
        tempo: 99,
        start_block: 100,
        ..StandinOptions::default()
    });
    let setting = std::sync::Arc::new(setting.await);
    let committing = setting.start();
    setting.standin.submitted(1).await;
    setting.standin.advance(5).await;
    committing.await.unwrap().unwrap();
    let chain = setting.chain().await;
    let account = setting.hotkey.account();
    let quota = chain.quota(crate::NETUID, account).await.unwrap();
    assert_eq!(quota.used, STRING.len() as u64);
    assert_eq!(quota.resets_at_block, Some(190));

    setting.standin.advance(100).await;
    let quota = chain.quota(crate::NETUID, account).await.unwrap();
    assert_eq!(quota.used, 0);
    assert_eq!(quota.resets_at_block, Some(290));
}

#[tokio::test]
async fn an_older_runtimes_hundred_blocks_are_foreseen() {
    let setting = Setting::on(StandinOptions {
        quota: Quota::HundredBlocks,
        ..epochs_of(360)
    });
    let setting = setting.await;
    let first = setting.commit().await.unwrap();
    let error = setting
        .commit_with("ns:newer:None:None", options())
        .await
        .unwrap_err();
    let until = Some(first.block + 100);
    assert_eq!(error.class(), Class::Wait { until }, "{error}");
    assert!(matches!(error, CommitError::Quota { .. }));
    assert_eq!(setting.standin.submissions().len(), 1);
}

#[tokio::test]
async fn a_quota_that_another_program_used_up_meanwhile_is_waited_for_too() {
    for (quota, failure) in [
        (Quota::Epoch, "Commitments.SpaceLimitExceeded"),
        (
            Quota::HundredBlocks,
            "Commitments.CommitmentSetRateLimitExceeded",
        ),
    ] {
        let setting = Setting::on(StandinOptions {
            quota,
            ..epochs_of(10_000)
        });
        let setting = setting.await;
        setting.inject(Fault::FailDispatch {
            error: failure.to_owned(),
        });
        let error = setting.commit().await.unwrap_err();
        assert!(matches!(error.class(), Class::Wait { .. }), "{error}");
        assert!(error.to_string().contains(failure), "{error}");
        assert_eq!(setting.held(), None);
    }
}
