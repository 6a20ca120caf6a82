//! A worker that restores from a checkpoint over a slow network, in generations
//! that end before the checkpoint is there.

use std::path::PathBuf;

use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;

use crate::conversation::{CHUNK, CHUNKS_PER_READ, Conversation, Having};

fn origin() -> v1::form::Origin {
    v1::form::Origin::Checkpoint("c1".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_interrupted_goes_on_in_the_next_generation() {
    let per_read = (CHUNK * CHUNKS_PER_READ) as u64;
    let mut conversation = Conversation::begin(|_| Having::default()).await;
    conversation.hear_ready().await;
    for generation in 1..=3 {
        conversation.form(generation, origin());
        conversation.wait_for_bytes(generation * per_read).await;
        let reason = "it forms for too long".to_owned();
        conversation.say(generation, Directive::Abort(v1::Abort { reason }));
        let is_out = |message: &v1::WorkerMessage| {
            let of = message.context.as_ref().map(|context| context.generation);
            matches!(&message.body, Some(Body::Left(_))) && of == Some(generation)
        };
        conversation.hear("that the worker left", is_out).await;
        conversation.hear_ready().await;
    }
    assert_eq!(conversation.reads(), [0, per_read, 2 * per_read]);
    assert_eq!(conversation.restoring().len(), 1);

    // The end of the run interrupts a restore as well, and nothing of it stays.
    conversation.form(4, origin());
    conversation.wait_for_bytes(4 * per_read).await;
    conversation.stop(4).await;
    assert_eq!(conversation.restoring(), Vec::<PathBuf>::new());
}
