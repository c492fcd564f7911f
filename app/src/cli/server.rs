//! `towpath server`: one node of several, over one database and one object store.

use super::CliError;
use super::output::bold;
use super::up::{Up, print_welcome};
use crate::server::Cluster;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(
    after_help = "Every node has the same database, objects, account, region and cluster key, and its own data \
                        folder, name and address:\n  export TOWPATH_CLUSTER_KEY=$(openssl rand -hex 32)   # once, for \
                        all nodes\n  towpath server --listen 0.0.0.0:4566 --data /var/lib/towpath \\\n    --database \
                        postgresql://towpath@db/towpath --objects s3://artifacts/towpath\n\nAnother S3 than AWS's: \
                        s3://BUCKET/PREFIX?endpoint=https://minio:9000. Its credentials come from the variables\nthat \
                        every AWS tool reads. The configuration file has the same names:\n  database = \
                        \"postgresql://towpath@db/towpath\"\n  objects = \"s3://artifacts/towpath\"\n  cluster-key-file \
                        = \"/etc/towpath/cluster.key\"\n\nRoot credentials come from TOWPATH_ROOT_ACCESS_KEY_ID and \
                        TOWPATH_ROOT_SECRET_ACCESS_KEY; without\nthem the first node makes them, and the others have \
                        them from the database."
)]
pub struct Server {
    #[command(flatten)]
    up: Up,
}

impl Server {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let config = self.up.config()?;
        let cluster = Cluster::decide(&config)?;
        let (name, objects) = (cluster.name.clone(), cluster.objects.to_string());
        super::up::serve(config, Some(cluster), move |running| {
            print_welcome(running);
            println!("  node      {} (`towpath status --nodes` shows all)", bold(&name));
            println!("  objects   {objects}");
        })
    }
}
