export { adoptSpool, type Adoption } from './adopt.ts'
