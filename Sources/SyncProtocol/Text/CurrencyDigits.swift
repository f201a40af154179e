// Decimal places of money in a currency (ISO 4217).

public enum CurrencyDigits {
    private static let none: Set<String> = [
        "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF",
    ]
    private static let three: Set<String> = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]

    public static func of(_ currency: String?) -> Int {
        guard let currency else { return 2 }
        return none.contains(currency) ? 0 : three.contains(currency) ? 3 : 2
    }
}
