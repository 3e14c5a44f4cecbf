// Payments as columns.
import { Output, input, register } from "../../../../sdk/assemblyscript/assembly";
export { floe_v1_describe, floe_v1_input, floe_v1_open, floe_v1_process, floe_v1_watermark } from "../../../../sdk/assemblyscript/assembly";
import { add } from "./totals";

const merchant = input.i64("merchant");
const amount = input.i64("amount_minor");

const out = new Output("main");
const outMerchant = out.i64("merchant");
const outTotal = out.i64("total");

register("totals_typed", "1.0.0", 1, () => {}, process, (timeMs: i64) => {});

function process(): void {
  const key = merchant.value;
  outMerchant.value = key;
  outTotal.value = add(key, amount.value);
  out.emit();
}
