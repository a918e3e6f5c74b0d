//! `breaker`: a person takes the place of an edge's circuit breaker, and gives it back.

use anyhow::Result;
use hyper::Method;
use serde_json::json;

use super::fault::call;
use crate::cli::BreakerVerb;
use crate::exit::Exit;

pub(crate) fn run(verb: &BreakerVerb) -> Result<Exit> {
    super::block_on(set(verb))
}

async fn set(verb: &BreakerVerb) -> Result<Exit> {
    let (edge, node) = match verb {
        BreakerVerb::Force(arguments) => (&arguments.edge, &arguments.node),
        BreakerVerb::Release(arguments) => (&arguments.edge, &arguments.node),
    };
    let path = format!("/edges/{edge}/breaker");
    let answer = match verb {
        BreakerVerb::Force(arguments) => {
            let body = json!({ "mode": arguments.mode });
            call(node, Method::PUT, &path, Some(&body)).await?
        }
        BreakerVerb::Release(_) => call(node, Method::DELETE, &path, None).await?,
    };
    println!("{edge}: {}", answer["mode"].as_str().unwrap_or_default());
    if let BreakerVerb::Force(_) = verb {
        let spec = node.spec.display();
        eprintln!("it stays so until: seaworthy breaker release {edge} --spec {spec}");
    }
    Ok(Exit::Good)
}
