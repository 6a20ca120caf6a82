//! What an earlier attempt left, when it is another's, or from long ago.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use publisher::commitment::{Event, Options, Origin, Pending};
use standin_chain::Fault;
use subnet::Account;

use crate::{STRING, Setting, drive, options};

/// Kills an attempt once its transaction is with the node, and returns what its
/// journal says.
async fn killed(setting: &Arc<Setting>) -> Pending {
    let journal: Arc<Mutex<Option<Pending>>> = Arc::default();
    let attempt = tokio::spawn({
        let (setting, journal) = (setting.clone(), journal.clone());
        async move {
            let write = |pending: &Pending| {
                *journal.lock().unwrap() = Some(pending.clone());
                Ok(())
            };
            let options = Options {
                // 64 blocks, as in earnest.
                journal: &write,
                ..Options::default()
            };
            setting.commit_with(STRING, options).await
        }
    });
    setting.standin.submitted(1).await;
    attempt.abort();
    assert!(attempt.await.unwrap_err().is_cancelled());
    journal.lock().unwrap().take().unwrap()
}

/// How often a node was given the transaction.
fn offered(setting: &Setting, pending: &Pending) -> usize {
    let submissions = setting.standin.submissions();
    let same = |hash: [u8; 32]| format!("0x{}", hex::encode(hash)) == pending.hash;
    submissions.iter().filter(|one| same(one.hash)).count()
}

#[tokio::test]
async fn a_transaction_of_another_hotkey_subnet_or_chain_is_not_offered_again() {
    type Change = fn(&mut Pending);
    let changes: [(&str, Change); 5] = [
        ("its own", |_| {}),
        ("nobody knows whose", |pending| pending.origin = None),
        ("another hotkey's", |pending| {
            pending.origin.as_mut().unwrap().hotkey = Account::from([7; 32]);
        }),
        ("another subnet's", |pending| {
            pending.origin.as_mut().unwrap().netuid = 10;
        }),
        ("another chain's, which is longer", |pending| {
            pending.origin.as_mut().unwrap().genesis = format!("0x{}", "07".repeat(32));
            pending.first_block += 1_000_000;
            pending.last_block += 1_000_000;
        }),
    ];
    for (whose, change) in changes {
        let setting = Arc::new(Setting::by_hand().await);
        setting.inject(Fault::LoseSubmissions { times: 1 });
        let mut pending = killed(&setting).await;
        let first = pending.clone();
        change(&mut pending);
        let options = Options {
            pending: Some(pending),
            deadline: Duration::from_secs(10),
            ..options()
        };
        let driver = drive(&setting);
        let receipt = setting.commit_with(STRING, options).await.unwrap();
        driver.abort();
        let is_ours = whose == "its own";
        assert_eq!(
            offered(&setting, &first),
            1 + usize::from(is_ours),
            "{whose}"
        );
        assert_eq!(receipt.adopted, is_ours, "{whose}");
        let left_alone =
            |event: &Event| matches!(event, Event::Again { why } if why.contains("left alone"));
        assert_eq!(setting.told(left_alone), !is_ours, "{whose}");
        setting.assert_committed_once(&receipt);
    }
}

#[tokio::test]
async fn a_journal_says_whose_a_transaction_is() {
    let setting = Arc::new(Setting::by_hand().await);
    let pending = killed(&setting).await;
    let genesis = setting.chain().await.genesis();
    let expected = Origin {
        genesis: format!("{genesis:?}"),
        netuid: crate::NETUID,
        hotkey: *setting.hotkey.account(),
    };
    assert_eq!(pending.origin, Some(expected));
}

#[tokio::test]
async fn a_transaction_whose_blocks_can_no_longer_be_read_is_found_by_the_commitment() {
    let setting = Arc::new(Setting::by_hand().await);
    let pending = killed(&setting).await;
    let at = u32::try_from(pending.last_block).unwrap() + 196;
    while setting.standin.heads().finalized < at {
        setting.standin.advance(1).await;
    }
    let options = Options {
        pending: Some(pending),
        deadline: Duration::from_secs(3),
        ..options()
    };
    let receipt = setting.commit_with(STRING, options).await.unwrap();
    assert!(receipt.adopted);
    setting.assert_committed_once(&receipt);
}
