// Payments as columns.
const totals = new Map();

export default {
  name: "totals_typed",
  version: "1.0.0",
  input: { merchant: "int64", amount_minor: "int64" },
  output: { merchant: "int64", total: "int64" },

  process({ merchant, amount_minor: amount }, emit) {
    const total = (totals.get(merchant) ?? 0) + amount;
    totals.set(merchant, total);
    emit({ merchant, total });
  },
};
