//! Others who use the same hotkey, or an older transaction that is still under way.

use std::sync::Arc;

use publisher::commitment::{Class, CommitError, Event};
use standin_chain::{Fault, raw_commitment};
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt::dynamic::{self, Value};
use subxt::transactions::Signer;
use subxt::utils::{AccountId32, MultiSignature};
use wallet::Hotkey;

use crate::{NETUID, STRING, Setting, drive, options};

#[tokio::test]
async fn a_nonce_that_another_program_has_used_is_noticed_and_the_string_signed_anew() {
    let setting = Arc::new(Setting::by_hand().await);
    setting.inject(Fault::LoseSubmissions { times: 1 });
    let committing = setting.start();
    setting.standin.submitted(1).await;
    commit_by_another_program(&setting, "ns:other:None:None").await;
    let driver = drive(&setting);
    let receipt = committing.await.unwrap().unwrap();
    driver.abort();
    let used = |event: &Event| matches!(event, Event::Again { why } if why.contains("nonce"));
    assert!(setting.told(used));
    assert_eq!(setting.held().as_deref(), Some(STRING));
    let [others, ours] = &setting.included()[..] else {
        panic!("{:?}", setting.included());
    };
    assert!(u64::from(others.block) < receipt.block);
    assert_eq!(u64::from(ours.block), receipt.block);
}

#[tokio::test]
async fn a_newer_string_waits_for_an_older_transaction_that_nobody_remembers() {
    let setting = Arc::new(Setting::by_hand().await);
    commit_by_another_program(&setting, "ns:older:None:None").await;
    let committing = setting.start();
    setting.standin.submitted(2).await;
    let driver = drive(&setting);
    let receipt = committing.await.unwrap().unwrap();
    driver.abort();
    let [older, newer] = &setting.included()[..] else {
        panic!("{:?}", setting.included());
    };
    assert!(older.block < newer.block);
    assert_eq!(u64::from(newer.block), receipt.block);
    assert_eq!(setting.held().as_deref(), Some(STRING));
}

#[tokio::test]
async fn a_commitment_that_is_overwritten_at_once_is_no_success() {
    let setting = Setting::running().await;
    let (standin, key) = (&setting.standin, setting.key());
    let overwrite = |event: &Event| {
        if matches!(event, Event::InBlock { .. }) {
            let info = raw_commitment(b"ns:other:None:None");
            standin.set_commitment_raw(key, standin.heads().best, &info);
        }
    };
    let committing = setting.commit_and(STRING, options(), overwrite);
    let error = committing.await.unwrap_err();
    assert!(matches!(error, CommitError::ReadBack { .. }), "{error}");
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("ns:other:None:None"), "{error}");
}

/// Hands the node a commitment that the hotkey signed elsewhere.
async fn commit_by_another_program(setting: &Setting, text: &str) {
    let view = setting.chain().await.finalized().await.unwrap();
    let nonce = view.nonce(setting.hotkey.account()).await.unwrap();
    let kind = format!("Raw{}", text.len());
    let field = Value::unnamed_variant(kind, [Value::from_bytes(text)]);
    let fields = Value::unnamed_composite([field]);
    let call = dynamic::tx(
        "Commitments",
        "set_commitment",
        vec![
            Value::u128(NETUID.into()),
            Value::named_composite([("fields", fields)]),
        ],
    );
    let parameters = DefaultExtrinsicParamsBuilder::<chain::Config>::new()
        .nonce(nonce)
        .mortal_from_unchecked(64, view.number(), view.hash())
        .build();
    let transactions = view.client().tx();
    let signable = transactions.create_v4_signable_offline(&call, parameters);
    let signed = signable.unwrap().sign(&Elsewhere(&setting.hotkey)).unwrap();
    view.submit(signed.encoded()).await.unwrap();
}

struct Elsewhere<'a>(&'a Hotkey);

impl Signer<chain::Config> for Elsewhere<'_> {
    fn account_id(&self) -> AccountId32 {
        AccountId32(*self.0.account().bytes())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.0.sign(payload))
    }
}
