//! What becomes of a transaction when nobody says: exactly one commitment, whatever
//! went wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use publisher::commitment::{Class, CommitError, Event, Options, Pending};
use standin_chain::{Fault, Returning, When};

use crate::{STRING, Setting, drive, options};

#[tokio::test]
async fn a_lost_acknowledgement() {
    let setting = Setting::running().await;
    setting.inject(Fault::LoseAcknowledgements { times: 1 });
    let receipt = setting.commit().await.unwrap();
    setting.assert_committed_once(&receipt);
    assert!(setting.told(|event| matches!(event, Event::InDoubt { .. })));
}

#[tokio::test]
async fn a_connection_cut_before_the_node_heard_of_the_transaction() {
    let setting = Arc::new(Setting::running().await);
    let submit = "author_submitAndWatchExtrinsic";
    let mut hold = setting.standin.faults().hold(submit, When::Before);
    let committing = setting.start();
    hold.arrived().await;
    hold.cut();
    let receipt = committing.await.unwrap().unwrap();
    setting.assert_committed_once(&receipt);
    // The same transaction, offered again.
    assert!(receipt.extrinsic.is_some());
    assert_eq!(signed_once(&setting), receipt.extrinsic);
}

#[tokio::test]
async fn a_connection_cut_at_every_stage() {
    for cut_at in ["submitting", "accepted", "in block"] {
        let setting = Setting::running().await;
        let faults = setting.standin.faults();
        let cut = |event: &Event| {
            if stage(event) == Some(cut_at) {
                faults.inject(Fault::CutConnections).unwrap();
            }
        };
        let receipt = setting.commit_and(STRING, options(), cut).await.unwrap();
        setting.assert_committed_once(&receipt);
    }
}

#[tokio::test]
async fn subscriptions_that_fall_silent() {
    for silent_from in ["accepted", "in block"] {
        let setting = Setting::running().await;
        let faults = setting.standin.faults();
        let silence = |event: &Event| {
            if stage(event) == Some(silent_from) {
                faults.inject(Fault::SilenceSubscriptions).unwrap();
            }
        };
        let receipt = setting
            .commit_and(STRING, options(), silence)
            .await
            .unwrap();
        setting.assert_committed_once(&receipt);
    }
}

#[tokio::test]
async fn a_node_that_takes_the_transaction_and_forgets_it() {
    let setting = Setting::running().await;
    setting.inject(Fault::LoseSubmissions { times: 1 });
    let receipt = setting.commit().await.unwrap();
    setting.assert_committed_once(&receipt);
    assert_eq!(signed_once(&setting), receipt.extrinsic);
}

#[tokio::test]
async fn a_block_that_is_retracted() {
    for returning in [Returning::AtOnce, Returning::NextBlock, Returning::Never] {
        let setting = Arc::new(Setting::by_hand().await);
        let committing = setting.start();
        setting.standin.submitted(1).await;
        setting.standin.advance(1).await;
        assert_eq!(setting.included().len(), 1);
        setting.inject(Fault::Reorganise {
            depth: 1,
            returning,
        });
        let driver = drive(&setting);
        let receipt = committing.await.unwrap().unwrap();
        driver.abort();
        setting.assert_committed_once(&receipt);
        let retracted = |event: &Event| matches!(event, Event::Retracted { .. });
        assert!(setting.told(retracted), "{returning:?}");
    }
}

#[tokio::test]
async fn an_upgrade_between_signing_and_inclusion() {
    let setting = Arc::new(Setting::by_hand().await);
    setting.inject(Fault::WithholdInclusion { withheld: true });
    let committing = setting.start();
    setting.standin.submitted(1).await;
    let chain = setting.chain().await;
    let spec_version = chain.spec_version().await.unwrap() + 1;
    setting.inject(Fault::UpgradeRuntime { spec_version });
    setting.standin.advance(1).await;
    setting.inject(Fault::WithholdInclusion { withheld: false });
    let driver = drive(&setting);
    let receipt = committing.await.unwrap().unwrap();
    driver.abort();
    setting.assert_committed_once(&receipt);
    assert_ne!(signed_once(&setting), receipt.extrinsic, "signed anew");
}

#[tokio::test]
async fn a_transaction_that_no_block_takes_is_signed_anew_when_its_era_is_over() {
    let setting = Arc::new(Setting::by_hand().await);
    setting.inject(Fault::WithholdInclusion { withheld: true });
    let committing = setting.start();
    setting.standin.submitted(1).await;
    let signed_at = setting.standin.heads().finalized;
    let driver = drive(&setting);
    // Once the era is over for the finalized chain, blocks take transactions again.
    let era_ends = signed_at + 16;
    while setting.standin.heads().finalized < era_ends {
        tokio::task::yield_now().await;
    }
    setting.inject(Fault::WithholdInclusion { withheld: false });
    let receipt = committing.await.unwrap().unwrap();
    driver.abort();
    setting.assert_committed_once(&receipt);
    assert!(receipt.block > u64::from(era_ends));
    assert_ne!(signed_once(&setting), receipt.extrinsic, "signed anew");
}

#[tokio::test]
async fn a_killed_process_finds_what_it_left_with_and_without_its_journal() {
    for keeps_a_journal in [true, false] {
        let setting = Arc::new(Setting::by_hand().await);
        let journal: Arc<Mutex<Option<Pending>>> = Arc::default();
        let killed = tokio::spawn({
            let (setting, journal) = (setting.clone(), journal.clone());
            async move {
                let write = |event: &Event| {
                    if let Event::Submitting(pending) = event {
                        *journal.lock().unwrap() = Some(pending.clone());
                    }
                };
                setting.commit_and(STRING, options(), write).await
            }
        });
        setting.standin.submitted(1).await;
        killed.abort();
        assert!(killed.await.unwrap_err().is_cancelled());

        let pending = journal.lock().unwrap().take().filter(|_| keeps_a_journal);
        let options = Options {
            pending,
            ..options()
        };
        let driver = drive(&setting);
        let receipt = setting.commit_with(STRING, options).await.unwrap();
        driver.abort();
        setting.assert_committed_once(&receipt);
        assert!(receipt.adopted);
    }
}

#[tokio::test]
async fn a_chain_whose_finality_stands_still_leaves_a_doubt_that_the_next_attempt_settles() {
    let setting = Setting::running().await;
    setting.inject(Fault::StallFinality { stalled: true });
    let impatient = Options {
        deadline: Duration::from_millis(600),
        ..options()
    };
    let error = setting.commit_with(STRING, impatient).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(matches!(error, CommitError::Unfinished { .. }), "{error}");
    let pending = error.pending().cloned();
    assert!(
        error.to_string().contains(&pending.as_ref().unwrap().hash),
        "{error}"
    );

    setting.inject(Fault::StallFinality { stalled: false });
    let again = Options {
        pending,
        ..options()
    };
    let receipt = setting.commit_with(STRING, again).await.unwrap();
    setting.assert_committed_once(&receipt);
}

#[tokio::test]
async fn a_chain_that_cannot_be_reached_is_worth_another_try_and_nothing_is_pending() {
    let setting = Setting::running().await;
    let chain = setting.chain().await;
    setting.inject(Fault::RefuseConnections { refuse: true });
    setting.inject(Fault::CutConnections);
    let committing = publisher::commitment::commit(
        &chain,
        &setting.hotkey,
        crate::NETUID,
        STRING,
        options(),
        &|_| {},
    );
    let error = committing.await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error}");
    assert_eq!(error.pending(), None);
    assert!(
        error.to_string().contains(&setting.standin.endpoint()),
        "{error}"
    );
}

fn stage(event: &Event) -> Option<&'static str> {
    match event {
        Event::Submitting(_) => Some("submitting"),
        Event::Accepted { .. } => Some("accepted"),
        Event::InBlock { .. } => Some("in block"),
        Event::Retracted { .. } | Event::InDoubt { .. } | Event::Again { .. } => None,
    }
}

/// The hash of the first transaction that was signed.
fn signed_once(setting: &Setting) -> Option<String> {
    let events = setting.events.lock().unwrap();
    events.iter().find_map(|event| match event {
        Event::Submitting(pending) => Some(pending.hash.clone()),
        _ => None,
    })
}
