//! A small service for the codecs' tests: every kind of shape, one operation per protocol family.

use towpath_api::model::*;

pub const STR: ShapeId = 0;
pub const NAME: ShapeId = 1;
const COLOR: ShapeId = 2;
const COUNT: ShapeId = 3;
const LONG: ShapeId = 4;
const DOUBLE: ShapeId = 5;
const FLAG: ShapeId = 6;
const BLOB: ShapeId = 7;
const TIME: ShapeId = 8;
const TAG: ShapeId = 9;
const TAGS: ShapeId = 10;
const NAMES: ShapeId = 11;
const NAME_MAP: ShapeId = 12;
const TAG_MAP: ShapeId = 13;
const TREE: ShapeId = 14;
const TREES: ShapeId = 15;
pub const THING: ShapeId = 16;
const FLAT: ShapeId = 17;
const SECRET: ShapeId = 18;
pub const PUT: ShapeId = 19;
pub const GET: ShapeId = 20;
pub const NOT_FOUND: ShapeId = 21;
const CHOICE: ShapeId = 22;
pub const SHOW: ShapeId = 23;
const STRINGS: ShapeId = 24;

const fn string(min: Option<u64>, max: Option<u64>, pattern: Option<&'static str>) -> Kind {
    Kind::String { min, max, pattern, values: &[], sensitive: false }
}

const fn member(name: &'static str, shape: ShapeId) -> Member {
    Member {
        name,
        shape,
        required: false,
        location: Location::Body,
        location_name: None,
        flattened: false,
        xml_attribute: false,
        idempotency_token: false,
        time_format: None,
    }
}

const fn at(location: Location, location_name: &'static str, member: Member) -> Member {
    Member { location, location_name: Some(location_name), ..member }
}

const fn structure(members: &'static [Member]) -> Kind {
    Kind::Structure { members, payload: None, error: None, union: false }
}

const fn list(member: ShapeId, max: Option<u64>, flattened: bool) -> Kind {
    Kind::List { member, item_name: "member", flattened, min: None, max }
}

const fn map(value: ShapeId) -> Kind {
    Kind::Map {
        key: NAME,
        value,
        key_name: "key",
        value_name: "value",
        flattened: false,
        min: None,
        max: None,
    }
}

static THING_MEMBERS: &[Member] = &[
    Member { required: true, ..member("Name", NAME) },
    member("Color", COLOR),
    member("Count", COUNT),
    member("Size", LONG),
    member("Ratio", DOUBLE),
    member("Enabled", FLAG),
    member("Content", BLOB),
    member("At", TIME),
    Member { time_format: Some(TimeFormat::Iso8601), ..member("IsoAt", TIME) },
    member("Tags", TAGS),
    member("Names", NAMES),
    member("Labels", NAME_MAP),
    member("TagsByName", TAG_MAP),
    member("Tree", TREE),
    Member { location_name: Some("Flat"), ..member("FlatNames", FLAT) },
    member("Secret", SECRET),
    member("Choice", CHOICE),
];

/// Spread over the whole request.
static PUT_MEMBERS: &[Member] = &[
    Member { required: true, ..at(Location::Uri, "Bucket", member("Bucket", STR)) },
    at(Location::Uri, "Key", member("Key", STR)),
    at(Location::Header, "x-flag", member("Flag", FLAG)),
    at(Location::Header, "x-names", member("Names", STRINGS)),
    at(Location::Header, "x-at", member("At", TIME)),
    at(Location::Headers, "x-meta-", member("Meta", NAME_MAP)),
    at(Location::Query, "limit", member("Limit", COUNT)),
    at(Location::Query, "name", member("QueryNames", STRINGS)),
    member("Tags", TAGS),
    member("Note", STR),
];

static SHOW_MEMBERS: &[Member] = &[
    at(Location::StatusCode, "", member("Status", COUNT)),
    at(Location::Header, "x-etag", member("Etag", STR)),
    at(Location::Headers, "x-meta-", member("Meta", NAME_MAP)),
    member("Content", BLOB),
];

const fn shape(name: &'static str, kind: Kind) -> Shape {
    Shape { name, kind }
}

static SHAPES: &[Shape] = &[
    shape("String", string(None, None, None)),
    shape("Name", string(Some(1), Some(8), Some("[a-z]*"))),
    shape(
        "Color",
        Kind::String { min: None, max: None, pattern: None, values: &["RED", "BLUE"], sensitive: false },
    ),
    shape("Count", Kind::Integer { min: Some(1), max: Some(10) }),
    shape("Long", Kind::Long { min: None, max: None }),
    shape("Double", Kind::Double),
    shape("Flag", Kind::Boolean),
    shape("Blob", Kind::Blob { min: None, max: Some(16) }),
    shape("Time", Kind::Timestamp { format: None }),
    shape("Tag", structure(&[Member { required: true, ..member("Key", NAME) }, member("Value", STR)])),
    shape("Tags", list(TAG, Some(3), false)),
    shape("Names", list(NAME, None, false)),
    shape("NameMap", map(NAME)),
    shape("TagMap", map(TAG)),
    shape("Tree", structure(&[member("Name", STR), member("Children", TREES)])),
    shape("Trees", list(TREE, None, false)),
    shape("Thing", structure(THING_MEMBERS)),
    shape("Flat", list(STR, None, true)),
    shape("Secret", Kind::String { min: Some(8), max: None, pattern: None, values: &[], sensitive: true }),
    shape("PutInput", structure(PUT_MEMBERS)),
    shape(
        "GetInput",
        structure(&[Member { required: true, ..at(Location::Uri, "Bucket", member("Bucket", STR)) }]),
    ),
    shape(
        "NotFoundException",
        Kind::Structure {
            members: &[member("Message", STR), member("Missing", STR)],
            payload: None,
            error: Some(ErrorTrait { code: "NotFound", status: 404, sender_fault: true }),
            union: false,
        },
    ),
    shape(
        "Choice",
        Kind::Structure {
            members: &[member("One", STR), member("Two", STR)],
            payload: None,
            error: None,
            union: true,
        },
    ),
    shape(
        "ShowOutput",
        Kind::Structure { members: SHOW_MEMBERS, payload: Some("Content"), error: None, union: false },
    ),
    shape("Strings", list(STR, None, false)),
];

const fn operation(
    name: &'static str,
    http_method: &'static str,
    http_uri: &'static str,
    input: ShapeId,
    output: Option<ShapeId>,
) -> Operation {
    Operation {
        name,
        http_method,
        http_uri,
        http_status: 200,
        input: Some(input),
        output,
        result_wrapper: None,
        errors: &[NOT_FOUND],
        request_compression: &[],
    }
}

pub static SERVICE: Service = Service {
    name: "things",
    signing_name: "things",
    endpoint_prefix: "things",
    service_id: "Things",
    api_version: "2026-01-01",
    target_prefix: Some("Things_20260101"),
    xml_namespace: Some("https://things.example/doc/"),
    protocols: &[Protocol::AwsJson11, Protocol::RpcV2Cbor, Protocol::AwsQuery, Protocol::RestJson1],
    query_compatible: true,
    operations: &[
        Operation {
            result_wrapper: Some("EchoResult"),
            ..operation("Echo", "POST", "/", THING, Some(THING))
        },
        operation("PutThing", "PUT", "/{Bucket}/{Key+}", PUT, Some(THING)),
        operation("GetThings", "GET", "/{Bucket}", GET, None),
        operation("GetThingsList", "GET", "/{Bucket}?list", GET, None),
        operation("GetStatic", "GET", "/static", GET, None),
        operation("ShowThing", "GET", "/{Bucket}/show/{Key}", PUT, Some(SHOW)),
    ],
    refused: &["DeleteThing"],
    shapes: SHAPES,
};

/// The operation that takes and gives a `Thing`.
pub fn echo() -> &'static Operation {
    &SERVICE.operations[0]
}
