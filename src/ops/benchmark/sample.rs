//! Data that is always the same: rows as a dump of ERPNext has them, and bytes that do not compress.

/// The length of a sample; a stage goes through it again and again.
pub const SAMPLE_BYTES: usize = 4 << 20;

/// Makes numbers that look random, from a seed.
struct Numbers(u64);

impl Numbers {
    /// xorshift64: George Marsaglia, "Xorshift RNGs", 2003.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        // Below the number of words, which is small.
        words[(self.next() % words.len() as u64) as usize]
    }
}

const ACCOUNTS: [&str; 5] =
    ["Debtors - BA", "Creditors - BA", "Sales - BA", "VAT 20% - BA", "Stock In Hand - BA"];
const PARTIES: [&str; 4] = ["Dickinson Supplies", "Northwind Trading", "Harbour Hotels Ltd", "Morgan & Sons"];
const VOUCHERS: [&str; 4] = ["Sales Invoice", "Purchase Invoice", "Payment Entry", "Journal Entry"];

/// Returns SQL text, one row a line, as `mariadb-dump` writes a ledger.
pub fn sql() -> Vec<u8> {
    let mut numbers = Numbers(0x11fe_b0a7);
    let mut text = String::with_capacity(SAMPLE_BYTES + 1024);
    text.push_str("INSERT INTO `tabGL Entry` VALUES\n");
    while text.len() < SAMPLE_BYTES {
        let (name, at) = (numbers.next(), numbers.next() % 1_000_000);
        let day = 1 + at % 28;
        let amount = numbers.next() % 1_000_000;
        text.push_str(&format!(
            "('{:010x}','2026-{:02}-{day:02} 09:14:02.{at:06}','2026-11-23 02:00:00.000000','Administrator',\
             'Administrator',1,0,'2026-{:02}-{day:02}','{}','{}','{}','{}-2026-{:05}',{}.{:02}0000000,0.000000000,\
             NULL,NULL,'No','Byrne Accounting','2026-2027',NULL,'{}'),\n",
            name & 0xff_ffff_ffff,
            1 + at % 12,
            1 + at % 12,
            numbers.of(&ACCOUNTS),
            numbers.of(&PARTIES),
            numbers.of(&VOUCHERS),
            numbers.of(&["ACC-SINV", "ACC-PINV", "ACC-PAY"]),
            numbers.next() % 100_000,
            amount / 100,
            amount % 100,
            numbers.of(&["", "Against Sales Order SAL-ORD-2026-00017", "Paid by bank transfer"]),
        ));
    }
    text.truncate(SAMPLE_BYTES);
    text.into_bytes()
}

/// Returns bytes that no compression makes shorter.
pub fn noise() -> Vec<u8> {
    let mut numbers = Numbers(0x5eed);
    (0..SAMPLE_BYTES / 8).flat_map(|_| numbers.next().to_le_bytes()).collect()
}
