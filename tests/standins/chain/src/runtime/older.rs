//! Metadata of versions 15 and 14, made from version 16.
//!
//! A node's runtime answers all three, and Python's clients ask for the older ones.
//! Version 16 says everything that they need but two types: version 15 names the
//! tuple of all transaction extensions and the runtime's own type, version 14 also
//! the type of a whole extrinsic. Those are appended to the type registry, where no
//! other type's number changes.
//!
//! What a real runtime's older metadata has and this lacks: the inner fields of the
//! extrinsic's type. Clients take its parameters instead.

use scale_info::form::{Form, PortableForm};
use scale_info::{Path, PortableRegistry, PortableType, Type, TypeDef, TypeParameter};
use scale_info::{TypeDefComposite, TypeDefTuple};
use subxt::ext::frame_metadata::v14::{self, RuntimeMetadataV14};
use subxt::ext::frame_metadata::v15::{self, RuntimeMetadataV15};
use subxt::ext::frame_metadata::v16::{self, RuntimeMetadataV16};

/// The extrinsic format's version that both can name; version 16 also lists 5.
const EXTRINSIC_VERSION: u8 = 4;

type TypeId = <PortableForm as Form>::Type;

/// Version 15 of the metadata.
pub(super) fn v15(metadata: &RuntimeMetadataV16) -> RuntimeMetadataV15 {
    let mut types = metadata.types.clone();
    let extra_ty = append_extensions(&mut types, &metadata.extrinsic);
    let ty = append_runtime(&mut types);
    RuntimeMetadataV15 {
        types,
        pallets: metadata.pallets.iter().map(v15_pallet).collect(),
        extrinsic: v15::ExtrinsicMetadata {
            version: EXTRINSIC_VERSION,
            address_ty: metadata.extrinsic.address_ty,
            call_ty: metadata.extrinsic.call_ty,
            signature_ty: metadata.extrinsic.signature_ty,
            extra_ty,
            signed_extensions: extensions(&metadata.extrinsic)
                .map(|extension| v15::SignedExtensionMetadata {
                    identifier: extension.identifier.clone(),
                    ty: extension.ty,
                    additional_signed: extension.implicit,
                })
                .collect(),
        },
        ty,
        apis: metadata.apis.iter().map(v15_api).collect(),
        outer_enums: metadata.outer_enums.clone(),
        custom: metadata.custom.clone(),
    }
}

/// Version 14 of the metadata.
pub(super) fn v14(metadata: &RuntimeMetadataV16) -> RuntimeMetadataV14 {
    let mut types = metadata.types.clone();
    let extra = append_extensions(&mut types, &metadata.extrinsic);
    let parameters = [
        ("Address", metadata.extrinsic.address_ty),
        ("Call", metadata.extrinsic.call_ty),
        ("Signature", metadata.extrinsic.signature_ty),
        ("Extra", extra),
    ];
    let path = [
        "sp_runtime",
        "generic",
        "unchecked_extrinsic",
        "UncheckedExtrinsic",
    ];
    let extrinsic = append(
        &mut types,
        &path,
        parameters
            .into_iter()
            .map(|(name, ty)| TypeParameter::new_portable(name.to_owned(), Some(ty)))
            .collect(),
        TypeDef::Composite(TypeDefComposite::new([])),
    );
    let ty = append_runtime(&mut types);
    RuntimeMetadataV14 {
        types,
        pallets: metadata.pallets.iter().map(v14_pallet).collect(),
        extrinsic: v14::ExtrinsicMetadata {
            ty: extrinsic,
            version: EXTRINSIC_VERSION,
            signed_extensions: extensions(&metadata.extrinsic)
                .map(|extension| v14::SignedExtensionMetadata {
                    identifier: extension.identifier.clone(),
                    ty: extension.ty,
                    additional_signed: extension.implicit,
                })
                .collect(),
        },
        ty,
    }
}

/// The transaction extensions of version 0 of the list, the one that extrinsics of
/// version 4 use, in order.
fn extensions(
    extrinsic: &v16::ExtrinsicMetadata<PortableForm>,
) -> impl Iterator<Item = &v16::TransactionExtensionMetadata<PortableForm>> {
    extrinsic
        .transaction_extensions_by_version
        .get(&0)
        .into_iter()
        .flatten()
        .filter_map(|index| extrinsic.transaction_extensions.get(index.0 as usize))
}

fn append_extensions(
    types: &mut PortableRegistry,
    extrinsic: &v16::ExtrinsicMetadata<PortableForm>,
) -> TypeId {
    let fields: Vec<TypeId> = extensions(extrinsic)
        .map(|extension| extension.ty)
        .collect();
    let tuple = TypeDef::Tuple(TypeDefTuple::new_portable(fields));
    append(types, &[], Vec::new(), tuple)
}

fn append_runtime(types: &mut PortableRegistry) -> TypeId {
    append(
        types,
        &["node_subtensor_runtime", "Runtime"],
        Vec::new(),
        TypeDef::Composite(TypeDefComposite::new([])),
    )
}

/// Adds a type at the registry's end and returns its number.
fn append(
    types: &mut PortableRegistry,
    path: &[&str],
    type_params: Vec<TypeParameter<PortableForm>>,
    type_def: TypeDef<PortableForm>,
) -> TypeId {
    let id = u32::try_from(types.types.len()).expect("a registry has thousands of types");
    types.types.push(PortableType {
        id,
        ty: Type {
            path: Path::from_segments_unchecked(path.iter().map(|&segment| segment.to_owned())),
            type_params,
            type_def,
            docs: Vec::new(),
        },
    });
    TypeId::from(id)
}

fn v15_pallet(pallet: &v16::PalletMetadata<PortableForm>) -> v15::PalletMetadata<PortableForm> {
    let older = v14_pallet(pallet);
    v15::PalletMetadata {
        name: older.name,
        storage: older.storage,
        calls: older.calls,
        event: older.event,
        constants: older.constants,
        error: older.error,
        index: older.index,
        docs: pallet.docs.clone(),
    }
}

fn v14_pallet(pallet: &v16::PalletMetadata<PortableForm>) -> v14::PalletMetadata<PortableForm> {
    v14::PalletMetadata {
        name: pallet.name.clone(),
        storage: pallet
            .storage
            .as_ref()
            .map(|storage| v14::PalletStorageMetadata {
                prefix: storage.prefix.clone(),
                entries: storage.entries.iter().map(v14_entry).collect(),
            }),
        calls: pallet
            .calls
            .as_ref()
            .map(|calls| v14::PalletCallMetadata { ty: calls.ty }),
        event: pallet
            .event
            .as_ref()
            .map(|event| v14::PalletEventMetadata { ty: event.ty }),
        constants: pallet
            .constants
            .iter()
            .map(|constant| v14::PalletConstantMetadata {
                name: constant.name.clone(),
                ty: constant.ty,
                value: constant.value.clone(),
                docs: constant.docs.clone(),
            })
            .collect(),
        error: pallet
            .error
            .as_ref()
            .map(|error| v14::PalletErrorMetadata { ty: error.ty }),
        index: pallet.index,
    }
}

fn v14_entry(
    entry: &v16::StorageEntryMetadata<PortableForm>,
) -> v14::StorageEntryMetadata<PortableForm> {
    v14::StorageEntryMetadata {
        name: entry.name.clone(),
        modifier: entry.modifier.clone(),
        ty: entry.ty.clone(),
        default: entry.default.clone(),
        docs: entry.docs.clone(),
    }
}

fn v15_api(api: &v16::RuntimeApiMetadata<PortableForm>) -> v15::RuntimeApiMetadata<PortableForm> {
    v15::RuntimeApiMetadata {
        name: api.name.clone(),
        methods: api
            .methods
            .iter()
            .map(|method| v15::RuntimeApiMethodMetadata {
                name: method.name.clone(),
                inputs: method
                    .inputs
                    .iter()
                    .map(|input| v15::RuntimeApiMethodParamMetadata {
                        name: input.name.clone(),
                        ty: input.ty,
                    })
                    .collect(),
                output: method.output,
                docs: method.docs.clone(),
            })
            .collect(),
        docs: api.docs.clone(),
    }
}
