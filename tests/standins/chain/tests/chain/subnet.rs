//! What runtime APIs tell of a subnet.

use standin_chain::Neuron;
use subxt::ext::scale_value::{At as _, Value};

use crate::client::{self, Dev, prompt_chain};

async fn call(client: &client::Client, api: &str, method: &str, arguments: Vec<Value>) -> Value {
    let payload = subxt::dynamic::runtime_api_call::<Vec<Value>, Value>(api, method, arguments);
    let block = client.at_current_block().await.unwrap();
    block.runtime_apis().call(payload).await.unwrap()
}

fn numbers(value: &Value, field: &str) -> Vec<u128> {
    let mut numbers = Vec::new();
    while let Some(element) = value.at(field).at(numbers.len()) {
        // A compact number is a number, or a composite of one.
        let number = element
            .as_u128()
            .or_else(|| element.at(0).and_then(Value::as_u128));
        numbers.push(number.unwrap());
    }
    numbers
}

#[tokio::test]
async fn the_metagraph_decodes_and_tells_incentives() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    chain.register(Dev::alice().public(), 0, 0.5);
    chain.register_neuron(&Neuron {
        netuid: 9,
        hotkey: Dev::bob().public(),
        coldkey: [5; 32],
        uid: None,
        incentive: 0.25,
        validator_permit: true,
    });
    let answer = call(
        &client,
        "SubnetInfoRuntimeApi",
        "get_metagraph",
        vec![Value::u128(9)],
    )
    .await;
    let metagraph = answer.at(0).unwrap();
    assert_eq!(numbers(metagraph, "incentives"), [32_768, 16_384]);
    assert_eq!(numbers(metagraph, "total_stake"), [0, 0]);
    let none = call(
        &client,
        "SubnetInfoRuntimeApi",
        "get_metagraph",
        vec![Value::u128(77)],
    )
    .await;
    assert!(none.at(0).is_none(), "{none:?}");

    let neurons = call(
        &client,
        "NeuronInfoRuntimeApi",
        "get_neurons_lite",
        vec![Value::u128(9)],
    )
    .await;
    assert_eq!(
        neurons
            .at(1)
            .at("validator_permit")
            .and_then(Value::as_bool),
        Some(true)
    );
    assert!(neurons.at(2).is_none());
}

#[tokio::test]
async fn a_selective_metagraph_has_the_fields_asked_for() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    chain.register(Dev::alice().public(), 0, 1.0);
    // netuid 0, name 1, …, tempo 8 in the order of the type's fields.
    let wanted = Value::unnamed_composite([Value::u128(8)]);
    let answer = call(
        &client,
        "SubnetInfoRuntimeApi",
        "get_selective_metagraph",
        vec![Value::u128(9), wanted],
    )
    .await;
    let metagraph = answer.at(0).unwrap();
    let some = metagraph.at("tempo");
    let tempo = some.at(0).unwrap();
    let tempo = tempo
        .as_u128()
        .or_else(|| tempo.at(0).and_then(Value::as_u128));
    assert_eq!(tempo, Some(360));
    assert!(metagraph.at("hotkeys").at(0).is_none());
}

#[tokio::test]
async fn a_replaced_hotkey_is_no_member_any_more() {
    let chain = prompt_chain().await;
    let client = client::connect(&chain).await;
    let (alice, bob) = (Dev::alice(), Dev::bob());
    chain.register(alice.public(), 0, 0.5);
    chain.register(bob.public(), 0, 0.5);
    let reader = client::Reader::new(&client).await;
    let uid = |account: [u8; 32]| vec![Value::u128(9), Value::from_bytes(account)];
    let entry = ("SubtensorModule", "Uids");
    assert_eq!(reader.number(entry, uid(alice.public())).await, None);
    assert_eq!(reader.number(entry, uid(bob.public())).await, Some(0));
    let count = ("SubtensorModule", "SubnetworkN");
    assert_eq!(reader.number(count, vec![Value::u128(9)]).await, Some(1));
}
