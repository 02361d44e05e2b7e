/*
 * The DSDT that Linux guests see; hv/dev/acpi.c holds it compiled (iasl -p dsdt dsdt.asl).
 * S5 names the sleep type that power-off writes to the sleep control port. COM1 has no interrupt: it
 * is polled. The host bridge names the ports and the memory in which the guest's devices lie.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "CREEL ", "CREEL   ", 1)
{
  Name (_S5, Package () { 5, 5, 0, 0 })
  Scope (\_SB) {
    Device (COM1) {
      Name (_HID, EisaId ("PNP0501"))
      Name (_UID, 1)
      Name (_CRS, ResourceTemplate () { IO (Decode16, 0x3f8, 0x3f8, 1, 8) })
    }
    Device (PCI0) {
      Name (_HID, EisaId ("PNP0A03"))
      Name (_UID, 0)
      Name (_BBN, 0)
      Name (_CRS, ResourceTemplate () {
        WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
        IO (Decode16, 0xcf8, 0xcf8, 1, 8)
        WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xc000, 0xcfff, 0, 0x1000)
        DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, 0xe0000000, 0xe0ffffff, 0, 0x1000000)
      })
    }
  }
}
