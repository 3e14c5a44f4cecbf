// Payments as the bytes of their JSON, parsed by the language's own parser; totals in its own map.
import { reject } from "floe";

const totals = new Map();

export default {
  name: "totals_raw",
  version: "1.0.0",
  input: { _value: "text?" },
  output: { merchant: "int64", total: "int64" },

  process({ _value: value }, emit) {
    const { merchant, amount_minor: amount } = JSON.parse(value);
    if (merchant === undefined || amount === undefined) reject("no payment");
    const total = (totals.get(merchant) ?? 0) + amount;
    totals.set(merchant, total);
    emit({ merchant, total });
  },
};
