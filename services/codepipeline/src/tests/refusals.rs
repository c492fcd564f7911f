//! What the fakes of other services do not play: every other operation of their traits.

/// Implements a trait's methods: those given as code, and refusals for the rest.
macro_rules! with_refusals {
    (impl $trait:ident for $type:ty { $($method:ident: $input:ident => $output:ident;)* } { $($played:item)* }) => {
        #[async_trait]
        impl $trait for $type {
            $($played)*
            $(async fn $method(&self, _: &Call, _: $input) -> Result<$output, ApiError> {
                Err(ApiError::not_implemented(concat!("fake ", stringify!($method))))
            })*
        }
    };
}
pub(super) use with_refusals;
