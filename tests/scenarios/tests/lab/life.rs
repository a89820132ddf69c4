//! probe
use crate::world::World;
use anyhow::Result;
use scenarios::rig::Place;
use scenarios::runner::Scenario;
use std::time::Duration;

pub(crate) const SCENARIOS: &[Scenario<World>] =
    &[Scenario { name: "life::probe", deadline: Duration::from_secs(800), run: probe }];
fn probe(world: &mut World) -> Result<()> {
    let script = std::fs::read("/tmp/life-probe.sh")?;
    let host = world.rig().host(Place::A);
    host.put_bytes(&script, "/root/probe.sh", 0o755)?;
    let out = host.run("sh /root/probe.sh 2>&1", Duration::from_secs(700))?;
    std::fs::write("/tmp/life-probe.out", &out.stdout)?;
    println!("{}", out.stdout_text());
    for f in ["stock.tree", "xend.tree", "stock.json", "xend.json"] {
        if let Ok(b) = host.get(&format!("/root/{f}")) {
            std::fs::write(format!("/tmp/life-{f}"), b)?;
        }
    }
    Ok(())
}
