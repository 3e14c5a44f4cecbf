// Payments as the bytes of their JSON.
import { Output, input, register, reject } from "../../../../sdk/assemblyscript/assembly";
export { floe_v1_describe, floe_v1_input, floe_v1_open, floe_v1_process, floe_v1_watermark } from "../../../../sdk/assemblyscript/assembly";
import { add, amount, merchant, payment } from "./totals";

const value = input.binary("_value?");

const out = new Output("main");
const outMerchant = out.i64("merchant");
const outTotal = out.i64("total");

register("totals_raw", "1.0.0", 1, () => {}, process, (timeMs: i64) => {});

function process(): void {
  if (value.isNull || !payment(value.value)) return reject("no payment");
  outMerchant.value = merchant;
  outTotal.value = add(merchant, amount);
  out.emit();
}
