//! Following the finalized blocks.

use standin_chain::Fault;

use crate::connected;

#[tokio::test]
async fn every_advance_of_finality_is_heard_once() {
    let (standin, chain) = connected().await;
    let mut heads = chain.finalized_heads();
    let first = heads.next().await.unwrap();
    for step in 1..=5 {
        standin.advance(1).await;
        if step > 2 {
            assert_eq!(heads.next().await.unwrap(), first + step - 2);
        }
    }
}

#[tokio::test]
async fn a_subscription_that_has_died_without_a_word_is_noticed() {
    let (standin, chain) = connected().await;
    let mut heads = chain.finalized_heads();
    let first = heads.next().await.unwrap();
    standin
        .faults()
        .inject(Fault::SilenceSubscriptions)
        .unwrap();
    standin.advance(10).await;
    assert_eq!(heads.next().await.unwrap(), first + 8);
    // And the new one is heard.
    standin.advance(1).await;
    assert_eq!(heads.next().await.unwrap(), first + 9);
}

#[tokio::test]
async fn a_broken_connection_interrupts_nothing() {
    let (standin, chain) = connected().await;
    let mut heads = chain.finalized_heads();
    let first = heads.next().await.unwrap();
    standin.faults().inject(Fault::CutConnections).unwrap();
    standin.advance(10).await;
    assert_eq!(heads.next().await.unwrap(), first + 8);
}
