//! A client of the chain as tests need it: subxt's, with development accounts.

use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use serde_json::Value as Json;
use standin_chain::{Methods, Options, StandinChain};
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt::ext::codec::Decode;
use subxt::ext::scale_value::{Composite, Value};
use subxt::rpcs::RpcClient;
use subxt::rpcs::client::{RpcSubscription, rpc_params};
use subxt::tx::{DynamicPayload, Signer};
use subxt::utils::{AccountId32, H256, MultiSignature};
use subxt::{OnlineClient, SubstrateConfig};

pub(crate) type Client = OnlineClient<SubstrateConfig>;

/// A development account: sr25519 from a seed that everybody knows.
pub(crate) struct Dev(Keypair);

impl Dev {
    pub(crate) fn of(seed: u8) -> Self {
        let secret = MiniSecretKey::from_bytes(&[seed; 32]).unwrap();
        Self(secret.expand_to_keypair(ExpansionMode::Ed25519))
    }

    pub(crate) fn alice() -> Self {
        Self::of(1)
    }

    pub(crate) fn bob() -> Self {
        Self::of(2)
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.public.to_bytes()
    }
}

impl Signer<SubstrateConfig> for Dev {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.public())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        let context = schnorrkel::signing_context(b"substrate");
        MultiSignature::Sr25519(self.0.sign(context.bytes(payload)).to_bytes())
    }
}

pub(crate) async fn connect(chain: &StandinChain) -> Client {
    Client::from_insecure_url(chain.endpoint()).await.unwrap()
}

/// `Commitments.set_commitment` with one `RawN` field.
pub(crate) fn commit_call(netuid: u16, data: &[u8]) -> DynamicPayload<Composite<()>> {
    let field = Value::unnamed_variant(format!("Raw{}", data.len()), [Value::from_bytes(data)]);
    let info = Value::named_composite([("fields", Value::unnamed_composite([field]))]);
    subxt::tx::dynamic(
        "Commitments",
        "set_commitment",
        Composite::Named(vec![
            ("netuid".to_owned(), Value::u128(netuid.into())),
            ("info".to_owned(), info),
        ]),
    )
}

/// Storage at the finalized block of the moment when it was made.
pub(crate) struct Reader(subxt::client::ClientAtBlock<SubstrateConfig, AtBlock>);

type AtBlock = subxt::client::OnlineClientAtBlockImpl<SubstrateConfig>;

impl Reader {
    pub(crate) async fn new(client: &Client) -> Self {
        Self(client.at_current_block().await.unwrap())
    }

    pub(crate) fn block(&self) -> u64 {
        self.0.block_number()
    }

    pub(crate) fn spec_version(&self) -> u32 {
        self.0.spec_version()
    }

    /// A value's bytes; the metadata's default for what is not stored, if it has one.
    pub(crate) async fn bytes(&self, entry: (&str, &str), keys: Vec<Value>) -> Option<Vec<u8>> {
        let address = subxt::dynamic::storage::<Vec<Value>, Value>(entry.0, entry.1);
        let value = self.0.storage().try_fetch(address, keys).await.unwrap();
        value.map(|value| value.into_bytes())
    }

    pub(crate) async fn decoded<T: Decode>(
        &self,
        entry: (&str, &str),
        keys: Vec<Value>,
    ) -> Option<T> {
        let bytes = self.bytes(entry, keys).await?;
        Some(T::decode(&mut bytes.as_slice()).unwrap())
    }

    pub(crate) async fn number(&self, entry: (&str, &str), keys: Vec<Value>) -> Option<u16> {
        self.decoded(entry, keys).await
    }

    /// Block and bytes of a commitment of one `RawN` field.
    pub(crate) async fn commitment(
        &self,
        netuid: u16,
        account: [u8; 32],
    ) -> Option<(u32, Vec<u8>)> {
        let keys = vec![Value::u128(netuid.into()), Value::from_bytes(account)];
        let bytes = self.bytes(("Commitments", "CommitmentOf"), keys).await?;
        let (deposit, block, rest) = <(u64, u32, [u8; 2])>::decode(&mut bytes.as_slice()).unwrap();
        assert_eq!(deposit, 0);
        assert_eq!(rest[0], 4, "one field");
        let data = &bytes[14..];
        assert_eq!(usize::from(rest[1]), data.len() + 1, "RawN's tag");
        Some((block, data.to_vec()))
    }
}

/// A bare JSON-RPC client.
pub(crate) async fn rpc(chain: &StandinChain) -> RpcClient {
    RpcClient::from_insecure_url(chain.endpoint())
        .await
        .unwrap()
}

/// A chain without lag, whose clients read by the legacy methods: what is included is
/// final, and read at once.
pub(crate) async fn prompt_chain() -> StandinChain {
    StandinChain::start(prompt_options()).await.unwrap()
}

pub(crate) fn prompt_options() -> Options {
    Options {
        methods: Methods::Legacy,
        finality_lag: 0,
        ..Options::default()
    }
}

pub(crate) type Params = DefaultExtrinsicParamsBuilder<SubstrateConfig>;

/// A signed extrinsic's bytes; with the nonce and era that subxt chooses unless
/// `params` say otherwise.
pub(crate) async fn signed(
    client: &Client,
    signer: &Dev,
    call: &DynamicPayload<Composite<()>>,
    params: Params,
) -> Vec<u8> {
    let mut transactions = client.tx().await.unwrap();
    let extrinsic = transactions
        .create_signed(call, signer, params.build())
        .await
        .unwrap();
    extrinsic.into_encoded()
}

/// Code, message and data of an error answer.
pub(crate) type Refusal = (i32, String, String);

pub(crate) fn refusal(error: subxt::rpcs::Error) -> Refusal {
    match error {
        subxt::rpcs::Error::User(error) => {
            let data = error.data.map_or_else(String::new, |data| data.to_string());
            (error.code, error.message, data)
        }
        other => panic!("{other:?} is no error answer"),
    }
}

/// `author_submitExtrinsic`.
pub(crate) async fn submit(rpc: &RpcClient, extrinsic: &[u8]) -> Result<H256, Refusal> {
    rpc.request("author_submitExtrinsic", rpc_params![hex(extrinsic)])
        .await
        .map_err(refusal)
}

/// `author_submitAndWatchExtrinsic`, with its statuses as JSON.
pub(crate) async fn watch(rpc: &RpcClient, extrinsic: &[u8]) -> RpcSubscription<Json> {
    rpc.subscribe(
        "author_submitAndWatchExtrinsic",
        rpc_params![hex(extrinsic)],
        "author_unwatchExtrinsic",
    )
    .await
    .unwrap()
}

/// The next notification.
pub(crate) async fn next(subscription: &mut RpcSubscription<Json>) -> Json {
    subscription.next().await.unwrap().unwrap()
}

/// The name of the next status of an extrinsic.
pub(crate) async fn status(subscription: &mut RpcSubscription<Json>) -> String {
    match next(subscription).await {
        Json::String(name) => name,
        Json::Object(fields) => fields.keys().next().unwrap().clone(),
        other => panic!("{other} is no status"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Signs a commitment, has it included and tells how it went.
pub(crate) async fn commit(
    chain: &StandinChain,
    client: &Client,
    signer: &Dev,
    data: &[u8],
) -> Result<(), String> {
    let extrinsic = signed(client, signer, &commit_call(9, data), Params::new()).await;
    submit(&rpc(chain).await, &extrinsic).await.unwrap();
    chain.advance(1).await;
    let included = chain.extrinsics();
    included.last().unwrap().result.clone()
}
