//! Datasets and their copies.

use super::resolver::Resolver;
use super::settings::Section;
use crate::plan::{DataPlan, Origin, ServiceKind, ServicePlan};

impl Resolver<'_> {
    pub(super) fn datasets(&mut self, services: &[ServicePlan]) -> Vec<DataPlan> {
        let root = self.root;
        let mut datasets = Vec::new();
        for (name, value) in root.map("data") {
            let Some(object) = value.as_object() else { continue };
            let section = Section::new(format!("data.{}", name.text), Some(object));
            let service = object.get("in").and_then(|value| {
                let text = value.as_text()?;
                let origin = self.origin(value.span);
                self.setting(section.path_of("in"), text, origin);
                self.service_named(text, value.span)
            });
            let copies = self.copies(&section, service.and_then(|service| services.get(service)));
            let consistency = object.text("consistency").map(str::to_owned);
            self.effective(
                &section,
                "consistency",
                consistency,
                ("strong".to_owned(), Origin::Default),
                String::clone,
            );
            if let Some(service) = service {
                datasets.push(DataPlan {
                    name: name.text.clone(),
                    place: self.place(name.span),
                    service,
                    copies,
                });
            }
        }
        datasets
    }

    fn copies(&mut self, section: &Section<'_>, service: Option<&ServicePlan>) -> Vec<u16> {
        let given = section.object.map(|object| object.list("copies")).unwrap_or_default();
        let mut copies = Vec::new();
        for value in given {
            if let Some(name) = value.as_text() {
                copies.extend(self.zone_named(name, value.span));
            }
        }
        let origin = if let Some(value) = section.get("copies") {
            self.origin(value.span)
        } else {
            copies = match service.map(|service| &service.kind) {
                Some(ServiceKind::Supervised(process)) => {
                    process.replicas.iter().map(|replica| replica.zone).collect()
                }
                _ => vec![0],
            };
            Origin::Derived("one per replica of the service".to_owned())
        };
        let zone = |index: &u16| self.zones.get(usize::from(*index)).map_or("-", |zone| zone.text.as_str());
        let shown = copies.iter().map(zone).collect::<Vec<_>>().join(", ");
        self.setting(section.path_of("copies"), format!("[{shown}]"), origin);
        copies
    }
}
