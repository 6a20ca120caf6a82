//! What goes wrong when a test says so.

use serde_json::Value as Json;
use standin_chain::{Fault, FaultError, Options, Rejection, StandinChain, When};
use std::time::Duration;
use subxt::rpcs::RpcClient;
use subxt::rpcs::client::{RpcSubscription, rpc_params};

use crate::client::{
    self, Dev, Params, Reader, commit_call, hex, prompt_chain, refusal, signed, status, submit,
    watch,
};

async fn finalized_heads(rpc: &RpcClient) -> RpcSubscription<Json> {
    rpc.subscribe(
        "chain_subscribeFinalizedHeads",
        rpc_params![],
        "chain_unsubscribeFinalizedHeads",
    )
    .await
    .unwrap()
}

/// Whether a subscription has nothing to tell after all that was sent before now.
pub(crate) async fn is_quiet(rpc: &RpcClient, subscription: &mut RpcSubscription<Json>) -> bool {
    // The answer comes after every notification that was sent before it.
    let _: String = rpc.request("system_chain", rpc_params![]).await.unwrap();
    tokio::time::timeout(Duration::ZERO, subscription.next())
        .await
        .is_err()
}

#[tokio::test]
async fn connections_break_and_new_ones_are_refused_for_a_while() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let mut heads = finalized_heads(&rpc).await;
    client::next(&mut heads).await;
    let faults = chain.faults();
    faults
        .inject(Fault::RefuseConnections { refuse: true })
        .unwrap();
    faults.inject(Fault::CutConnections).unwrap();
    assert!(!matches!(heads.next().await, Some(Ok(_))));
    let lost: Result<String, _> = rpc.request("system_chain", rpc_params![]).await;
    assert!(lost.is_err());
    assert!(
        RpcClient::from_insecure_url(chain.endpoint())
            .await
            .is_err()
    );
    faults
        .inject(Fault::RefuseConnections { refuse: false })
        .unwrap();
    let again = client::rpc(&chain).await;
    let name: String = again.request("system_chain", rpc_params![]).await.unwrap();
    assert_eq!(name, "Bittensor stand-in");
}

#[tokio::test]
async fn a_silenced_subscription_hears_nothing_while_new_ones_do() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let mut heads = finalized_heads(&rpc).await;
    client::next(&mut heads).await;
    chain.faults().inject(Fault::SilenceSubscriptions).unwrap();
    chain.advance(3).await;
    assert!(is_quiet(&rpc, &mut heads).await);
    let mut later = finalized_heads(&rpc).await;
    assert_eq!(client::next(&mut later).await["number"], "0x4");
    chain.advance(1).await;
    assert_eq!(client::next(&mut later).await["number"], "0x5");
}

#[tokio::test]
async fn a_stalled_method_answers_when_it_is_resumed() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let faults = chain.faults();
    let method = || "chain_getFinalizedHead".to_owned();
    faults.inject(Fault::Stall { method: method() }).unwrap();
    let stalled = tokio::spawn({
        let rpc = rpc.clone();
        async move {
            let hash: Result<String, _> =
                rpc.request("chain_getFinalizedHead", rpc_params![]).await;
            hash
        }
    });
    let _: String = rpc.request("system_chain", rpc_params![]).await.unwrap();
    assert!(!stalled.is_finished());
    assert_eq!(chain.requests("chain_getFinalizedHead"), 0);
    faults.inject(Fault::Resume { method: method() }).unwrap();
    stalled.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_fail_as_often_as_told() {
    let chain = prompt_chain().await;
    let rpc = client::rpc(&chain).await;
    let fault = serde_json::json!({
        "kind": "fail_requests",
        "method": "system_chain",
        "code": -32603,
        "message": "Internal error",
        "times": 2,
    });
    let fault: Fault = serde_json::from_value(fault).unwrap();
    chain.faults().inject(fault).unwrap();
    for _ in 0..2 {
        let failed: Result<String, _> = rpc.request("system_chain", rpc_params![]).await;
        assert_eq!(refusal(failed.unwrap_err()).0, -32_603);
    }
    let _: String = rpc.request("system_chain", rpc_params![]).await.unwrap();
}

#[tokio::test]
async fn the_pool_refuses_the_next_submission() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let cases = [
        (Rejection::TemporarilyBanned, 1012),
        (Rejection::TooLowPriority, 1014),
        (Rejection::ExhaustsResources, 1010),
        (Rejection::ImmediatelyDropped, 1016),
        (Rejection::Stale, 1010),
        (Rejection::BadProof, 1010),
    ];
    for (rejection, code) in cases {
        chain
            .faults()
            .inject(Fault::RejectSubmission { rejection })
            .unwrap();
        assert_eq!(submit(&rpc, &extrinsic).await.unwrap_err().0, code);
    }
    submit(&rpc, &extrinsic).await.unwrap();
}

#[tokio::test]
async fn a_lost_submission_is_accepted_and_never_included() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    chain
        .faults()
        .inject(Fault::LoseSubmissions { times: 1 })
        .unwrap();
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let mut watched = watch(&rpc, &extrinsic).await;
    assert_eq!(status(&mut watched).await, "ready");
    chain.advance(5).await;
    assert!(is_quiet(&rpc, &mut watched).await);
    assert_eq!(chain.extrinsics(), []);
    submit(&rpc, &extrinsic).await.unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 1);
}

#[tokio::test]
async fn a_lost_acknowledgement_leaves_the_extrinsic_in_the_pool() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    chain
        .faults()
        .inject(Fault::LoseAcknowledgements { times: 1 })
        .unwrap();
    let lost: Result<String, _> = rpc
        .request("author_submitExtrinsic", rpc_params![hex(&extrinsic)])
        .await;
    assert!(!matches!(lost.unwrap_err(), subxt::rpcs::Error::User(_)));
    assert_eq!(chain.heads().pending, 1);
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 1);
}

#[tokio::test]
async fn withheld_extrinsics_are_included_later() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let withhold = |withheld| Fault::WithholdInclusion { withheld };
    chain.faults().inject(withhold(true)).unwrap();
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    submit(&rpc, &extrinsic).await.unwrap();
    chain.advance(3).await;
    assert_eq!(chain.extrinsics(), []);
    chain.faults().inject(withhold(false)).unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 1);
}

#[tokio::test]
async fn an_unknown_error_to_fail_with_is_refused() {
    let chain = prompt_chain().await;
    for error in ["Commitments.Nonsense", "nonsense"] {
        let fault = Fault::FailDispatch {
            error: error.to_owned(),
        };
        let refused = chain.faults().inject(fault).unwrap_err();
        assert!(matches!(refused, FaultError::UnknownError(_)));
    }
}

#[tokio::test]
async fn a_runtime_upgrade_makes_older_signatures_bad() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let alice = Dev::alice();
    chain.register(alice.public(), 0, 0.0);
    let mut versions: RpcSubscription<Json> = rpc
        .subscribe(
            "state_subscribeRuntimeVersion",
            rpc_params![],
            "state_unsubscribeRuntimeVersion",
        )
        .await
        .unwrap();
    assert_eq!(client::next(&mut versions).await["specVersion"], 365);
    let older = signed(&client, &alice, &commit_call(9, b"x"), Params::new()).await;
    chain
        .faults()
        .inject(Fault::UpgradeRuntime { spec_version: 400 })
        .unwrap();
    chain.advance(1).await;
    assert_eq!(client::next(&mut versions).await["specVersion"], 400);
    assert_eq!(Reader::new(&client).await.spec_version(), 400);
    let (code, _, data) = submit(&rpc, &older).await.unwrap_err();
    assert_eq!(
        (code, data.as_str()),
        (1010, "\"Transaction has a bad signature\"")
    );
    let newer = signed(&client, &alice, &commit_call(9, b"x"), Params::new()).await;
    submit(&rpc, &newer).await.unwrap();
    chain.advance(1).await;
    assert_eq!(chain.extrinsics()[0].result, Ok(()));
}

#[tokio::test]
async fn a_request_is_held_before_its_effect() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let mut hold = chain.faults().hold("author_submitExtrinsic", When::Before);
    let submission = tokio::spawn(async move { submit(&rpc, &extrinsic).await });
    hold.arrived().await;
    hold.arrived().await;
    assert_eq!(chain.submissions(), []);
    hold.release();
    submission.await.unwrap().unwrap();
    assert_eq!(chain.submissions().len(), 1);
}

#[tokio::test]
async fn a_request_is_held_after_its_effect_and_its_answer_cut() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let mut hold = chain.faults().hold("author_submitExtrinsic", When::After);
    let submission = tokio::spawn(async move {
        let answer: Result<String, _> = rpc
            .request("author_submitExtrinsic", rpc_params![hex(&extrinsic)])
            .await;
        answer
    });
    hold.arrived().await;
    assert_eq!(chain.heads().pending, 1);
    assert!(!submission.is_finished());
    hold.cut();
    assert!(submission.await.unwrap().is_err());
    chain.advance(1).await;
    assert_eq!(chain.extrinsics().len(), 1);
}

#[tokio::test]
async fn a_held_request_has_its_effect_though_its_client_is_gone() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let rpc = client::rpc(&chain).await;
    let extrinsic = signed(&client, &Dev::alice(), &commit_call(9, b"x"), Params::new()).await;
    let mut hold = chain.faults().hold("author_submitExtrinsic", When::Before);
    let submission = tokio::spawn(async move { submit(&rpc, &extrinsic).await });
    hold.arrived().await;
    submission.abort();
    let _ = submission.await;
    hold.release();
    chain.submitted(1).await;
    assert_eq!(chain.heads().pending, 1);
}

#[tokio::test]
async fn follows_end_with_a_stop() {
    let chain = StandinChain::start(Options::default()).await.unwrap();
    let rpc = client::rpc(&chain).await;
    let mut follow: RpcSubscription<Json> = rpc
        .subscribe(
            "chainHead_v1_follow",
            rpc_params![true],
            "chainHead_v1_unfollow",
        )
        .await
        .unwrap();
    let first = client::next(&mut follow).await;
    assert_eq!(first["event"], "initialized");
    assert_eq!(first["finalizedBlockRuntime"]["spec"]["specVersion"], 365);
    assert_eq!(client::next(&mut follow).await["event"], "bestBlockChanged");
    chain.advance(1).await;
    assert_eq!(client::next(&mut follow).await["event"], "newBlock");
    assert_eq!(client::next(&mut follow).await["event"], "bestBlockChanged");
    chain.faults().inject(Fault::StopFollows).unwrap();
    assert_eq!(client::next(&mut follow).await["event"], "stop");
}
