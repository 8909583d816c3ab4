//! What the shop sells.

/// One thing to buy.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Item {
    /// In requests and carts.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) note: &'static str,
    pub(crate) cents: u64,
    /// A path in a square of 24, drawn as a line.
    #[serde(skip)]
    pub(crate) drawing: &'static str,
}

pub(crate) const ITEMS: [Item; 8] = [
    Item {
        id: "mug",
        name: "Stoneware mug",
        note: "Holds a long morning",
        cents: 1_850,
        drawing: "M5 9h10v9a3 3 0 0 1-3 3H8a3 3 0 0 1-3-3zM15 11h2a3 3 0 0 1 0 6h-2M8 3v3M12 3v3",
    },
    Item {
        id: "tea",
        name: "Green tea",
        note: "Second flush, 100 g",
        cents: 1_290,
        drawing: "M4 20C4 10 10 4 20 4c0 10-6 16-16 16zM4 20l9-9",
    },
    Item {
        id: "bowl",
        name: "Serving bowl",
        note: "Turned from ash",
        cents: 3_400,
        drawing: "M3 10h18a9 9 0 0 1-18 0zM8 21h8",
    },
    Item {
        id: "candle",
        name: "Beeswax candle",
        note: "Burns for 40 hours",
        cents: 990,
        drawing: "M8 12h8v9H8zM12 12v-2M12 3c2 2.500 2 4.500 0 6-2-1.500-2-3.500 0-6z",
    },
    Item {
        id: "notebook",
        name: "Notebook",
        note: "Dotted, lies flat",
        cents: 1_450,
        drawing: "M6 3h12a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM9 3v18M12 8h4M12 12h4",
    },
    Item {
        id: "lamp",
        name: "Reading lamp",
        note: "Warm and dimmable",
        cents: 7_900,
        drawing: "M8 3h8l3 8H5zM12 11v9M8 21h8",
    },
    Item {
        id: "vase",
        name: "Glass vase",
        note: "For three stems",
        cents: 2_650,
        drawing: "M9 3h6M10 3v4c-5 4-5 10-2 14h8c3-4 3-10-2-14V3",
    },
    Item {
        id: "blanket",
        name: "Wool blanket",
        note: "Undyed, 130 by 180",
        cents: 11_900,
        drawing: "M4 5h16v14H4zM4 10h16M4 14h16M9 5v14M15 5v14",
    },
];

pub(crate) fn find(id: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.id == id)
}

/// Cents as people write them.
pub(crate) fn price(cents: u64) -> String {
    format!("€{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_found_by_its_id() {
        for item in &ITEMS {
            assert_eq!(find(item.id).unwrap().name, item.name);
        }
        assert!(find("yacht").is_none());
    }

    #[test]
    fn a_price_has_two_digits_of_cents() {
        assert_eq!(price(905), "€9.05");
    }
}
