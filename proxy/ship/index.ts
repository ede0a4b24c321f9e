export { Shipper, type ShipReport } from './shipper.ts'
export { ShipState } from './ship-state.ts'
