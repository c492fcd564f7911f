//! A service's model as static data: what the wire layer needs to route, decode, validate and encode.
//! Generated from `models/*.json`; the vocabulary is Smithy's and botocore's.

/// One AWS service.
#[derive(Debug)]
pub struct Service {
    /// Towpath's name for it: the crate, the manifest entry, the IAM prefix (`codepipeline`).
    pub name: &'static str,
    /// The name in a SigV4 credential scope.
    pub signing_name: &'static str,
    pub endpoint_prefix: &'static str,
    pub service_id: &'static str,
    pub api_version: &'static str,
    /// The part of `X-Amz-Target` before the dot.
    pub target_prefix: Option<&'static str>,
    pub xml_namespace: Option<&'static str>,
    /// Every protocol that the model lists.
    pub protocols: &'static [Protocol],
    /// The `awsQueryCompatible` trait: error codes as the query protocol had them.
    pub query_compatible: bool,
    /// The operations that the manifest lists.
    pub operations: &'static [Operation],
    /// The names of all others, so that they can be refused by name.
    pub refused: &'static [&'static str],
    pub shapes: &'static [Shape],
}

impl Service {
    pub fn operation(&self, name: &str) -> Option<&'static Operation> {
        self.operations.iter().find(|operation| operation.name == name)
    }

    pub fn shape(&self, id: ShapeId) -> &'static Shape {
        &self.shapes[id as usize]
    }

    pub fn shape_named(&self, name: &str) -> Option<&'static Shape> {
        self.shapes.iter().find(|shape| shape.name == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    AwsJson10,
    AwsJson11,
    AwsQuery,
    RestJson1,
    RestXml,
    RpcV2Cbor,
}

/// An index into [`Service::shapes`].
pub type ShapeId = u16;

#[derive(Debug)]
pub struct Operation {
    pub name: &'static str,
    pub http_method: &'static str,
    /// The URI template, `/` for RPC protocols.
    pub http_uri: &'static str,
    /// The status of success.
    pub http_status: u16,
    pub input: Option<ShapeId>,
    pub output: Option<ShapeId>,
    /// The element that wraps a query response (`CreateUserResult`).
    pub result_wrapper: Option<&'static str>,
    pub errors: &'static [ShapeId],
    /// Encodings of the `requestcompression` trait (`gzip`), empty where it is absent.
    pub request_compression: &'static [&'static str],
}

#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Structure {
        members: &'static [Member],
        /// The member that is the whole body, for REST protocols.
        payload: Option<&'static str>,
        error: Option<ErrorTrait>,
        /// At most one member may be set.
        union: bool,
    },
    List {
        member: ShapeId,
        /// The XML element of one item, `member` unless said otherwise.
        item_name: &'static str,
        flattened: bool,
        min: Option<u64>,
        max: Option<u64>,
    },
    Map {
        key: ShapeId,
        value: ShapeId,
        key_name: &'static str,
        value_name: &'static str,
        flattened: bool,
        min: Option<u64>,
        max: Option<u64>,
    },
    String {
        /// Lengths in Unicode characters.
        min: Option<u64>,
        max: Option<u64>,
        pattern: Option<&'static str>,
        /// The allowed values, empty for a free string.
        values: &'static [&'static str],
        sensitive: bool,
    },
    Integer {
        min: Option<i64>,
        max: Option<i64>,
    },
    Long {
        min: Option<i64>,
        max: Option<i64>,
    },
    Float,
    Double,
    Boolean,
    Blob {
        min: Option<u64>,
        max: Option<u64>,
    },
    Timestamp {
        format: Option<TimeFormat>,
    },
}

#[derive(Debug)]
pub struct Member {
    pub name: &'static str,
    pub shape: ShapeId,
    pub required: bool,
    pub location: Location,
    /// The name on the wire where it differs from `name`.
    pub location_name: Option<&'static str>,
    pub flattened: bool,
    pub xml_attribute: bool,
    /// A client fills it in by itself; the server may make one up where it is absent.
    pub idempotency_token: bool,
    pub time_format: Option<TimeFormat>,
}

impl Member {
    pub fn wire_name(&self) -> &'static str {
        self.location_name.unwrap_or(self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Body,
    Header,
    /// Every header with the prefix `location_name`.
    Headers,
    Query,
    Uri,
    StatusCode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    Iso8601,
    Rfc822,
    Epoch,
}

/// How an error shape looks on the wire.
#[derive(Debug)]
pub struct ErrorTrait {
    /// The code on the wire where it differs from the shape's name (`EntityAlreadyExists`).
    pub code: &'static str,
    pub status: u16,
    pub sender_fault: bool,
}
